/* json_write.h - writes one JSON document into a buffer of the caller's, without malloc and without Python.
 *
 * For the thread that answers a signal while somebody else holds the GIL. The writer is bounded: what does not fit sets
 * `failed` and writes no more, so a document is used only when mi_json_end() says it is whole. */
#ifndef MI_JSON_WRITE_H
#define MI_JSON_WRITE_H

#include <stddef.h>
#include <stdint.h>

#define MI_JSON_DEPTH 63

typedef struct mi_json {
    char *text;
    size_t size, used;
    uint64_t filled; /* bit N: the object or array at depth N has a member already */
    unsigned depth;
    int after_key, failed;
} mi_json;

void mi_json_begin(mi_json *json, char *text, size_t size);
/* Ends the document with a newline; true when all brackets are closed and everything fitted. */
int mi_json_end(mi_json *json);

void mi_json_open(mi_json *json, char bracket);  /* '{' or '[' */
void mi_json_close(mi_json *json, char bracket); /* '}' or ']' */
void mi_json_key(mi_json *json, const char *key);

void mi_json_null(mi_json *json);
void mi_json_bool(mi_json *json, int value);
void mi_json_uint(mi_json *json, uint64_t value);
void mi_json_int(mi_json *json, int64_t value);
/* Nanoseconds as seconds; made of integers, since printf's decimal point follows the program's locale. */
void mi_json_seconds(mi_json *json, uint64_t nanoseconds);
/* At most `limit` bytes of a text that ends with a 0; what is not UTF-8 becomes U+FFFD, controls are escaped. */
void mi_json_text(mi_json *json, const char *text, size_t limit);
/* Members or a value that are JSON already. */
void mi_json_raw(mi_json *json, const char *text, size_t size);

#endif
