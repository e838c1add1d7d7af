/* json_write.c - see json_write.h: a bounded JSON writer for a thread that may neither allocate nor take the GIL. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "json_write.h"

#include <string.h>

static void put(mi_json *json, const char *bytes, size_t count) {
    if (json->failed || count > json->size - json->used) {
        json->failed = 1;
        return;
    }
    memcpy(json->text + json->used, bytes, count);
    json->used += count;
}

/* A comma where one is due; called before every key and every value. */
static void separate(mi_json *json) {
    if (json->after_key) {
        json->after_key = 0;
        return;
    }
    uint64_t bit = 1ull << json->depth;
    if (json->filled & bit) put(json, ",", 1);
    json->filled |= bit;
}

void mi_json_begin(mi_json *json, char *text, size_t size) {
    memset(json, 0, sizeof *json);
    json->text = text;
    json->size = size;
}

int mi_json_end(mi_json *json) {
    put(json, "\n", 1);
    return !json->failed && !json->depth && !json->after_key;
}

void mi_json_open(mi_json *json, char bracket) {
    separate(json);
    put(json, &bracket, 1);
    if (json->depth == MI_JSON_DEPTH) {
        json->failed = 1;
        return;
    }
    json->filled &= ~(1ull << ++json->depth);
}

void mi_json_close(mi_json *json, char bracket) {
    put(json, &bracket, 1);
    if (json->depth)
        json->depth--;
    else
        json->failed = 1;
}

void mi_json_raw(mi_json *json, const char *text, size_t size) {
    if (!size) return;
    separate(json);
    put(json, text, size);
}

void mi_json_null(mi_json *json) { mi_json_raw(json, "null", 4); }

void mi_json_bool(mi_json *json, int value) {
    if (value)
        mi_json_raw(json, "true", 4);
    else
        mi_json_raw(json, "false", 5);
}

/* The decimal digits of a number, at least `width` of them, ending at `end`; returns where they begin. */
static char *digits(char *end, uint64_t value, int width) {
    for (; value || width > 0; value /= 10, width--) *--end = (char)('0' + value % 10);
    return end;
}

void mi_json_uint(mi_json *json, uint64_t value) {
    char text[24], *end = text + sizeof text, *start = digits(end, value, 1);
    mi_json_raw(json, start, (size_t)(end - start));
}

void mi_json_int(mi_json *json, int64_t value) {
    char text[24], *end = text + sizeof text;
    char *start = digits(end, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, 1);
    if (value < 0) *--start = '-';
    mi_json_raw(json, start, (size_t)(end - start));
}

void mi_json_seconds(mi_json *json, uint64_t nanoseconds) {
    char text[40], *end = text + sizeof text, *start = digits(end, nanoseconds % 1000000000u, 9);
    *--start = '.';
    start = digits(start, nanoseconds / 1000000000u, 1);
    mi_json_raw(json, start, (size_t)(end - start));
}

/* The length of the well-formed UTF-8 sequence at `at` (Unicode 15, table 3-7), 0 when there is none. */
static size_t utf8_length(const unsigned char *at, size_t left) {
    unsigned char low = 0x80, high = 0xbf;
    size_t length;
    if (at[0] < 0x80) return 1;
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        length = 2;
    } else if ((at[0] & 0xf0) == 0xe0) {
        length = 3;
        if (at[0] == 0xe0) low = 0xa0;
        if (at[0] == 0xed) high = 0x9f; /* surrogates are not characters */
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        length = 4;
        if (at[0] == 0xf0) low = 0x90;
        if (at[0] == 0xf4) high = 0x8f;
    } else {
        return 0;
    }
    if (left < length || at[1] < low || at[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((at[i] & 0xc0) != 0x80) return 0;
    return length;
}

static void put_text(mi_json *json, const char *text, size_t limit) {
    static const char hex[] = "0123456789abcdef";
    size_t size = strnlen(text, limit), step;
    put(json, "\"", 1);
    for (size_t i = 0; i < size; i += step) {
        unsigned char byte = (unsigned char)text[i];
        step = utf8_length((const unsigned char *)text + i, size - i);
        if (!step) {
            step = 1;
            put(json, "\xef\xbf\xbd", 3);
        } else if (byte == '"' || byte == '\\') {
            char escaped[2] = {'\\', (char)byte};
            put(json, escaped, sizeof escaped);
        } else if (byte < 0x20 || byte == 0x7f) {
            char escaped[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
            put(json, escaped, sizeof escaped);
        } else {
            put(json, text + i, step);
        }
    }
    put(json, "\"", 1);
}

void mi_json_text(mi_json *json, const char *text, size_t limit) {
    separate(json);
    put_text(json, text, limit);
}

void mi_json_key(mi_json *json, const char *key) {
    mi_json_text(json, key, 256);
    put(json, ":", 1);
    json->after_key = 1;
}
