/* sort.c - heapsort by an address: in place, without malloc, never quadratic. */
#include "sort.h"

#include <stdint.h>
#include <string.h>

static uintptr_t key(const char *items, size_t at, size_t size) {
    uintptr_t value;
    memcpy(&value, items + at * size, sizeof value);
    return value;
}

static void swap(char *items, size_t one, size_t other, size_t size) {
    uintptr_t word; /* sizes are multiples of it: the key is one */
    for (size_t at = 0; at < size; at += sizeof word) {
        memcpy(&word, items + one * size + at, sizeof word);
        memcpy(items + one * size + at, items + other * size + at, sizeof word);
        memcpy(items + other * size + at, &word, sizeof word);
    }
}

static void sink(char *items, size_t at, size_t count, size_t size) {
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && key(items, child + 1, size) > key(items, child, size)) child++;
        if (key(items, at, size) >= key(items, child, size)) return;
        swap(items, at, child, size);
    }
}

void mi_sort(void *items, size_t count, size_t size) {
    int sorted = 1;
    for (size_t at = 1; at < count && sorted; at++) sorted = key(items, at - 1, size) <= key(items, at, size);
    if (sorted) return;
    for (size_t at = count / 2; at-- > 0;) sink(items, at, count, size);
    for (size_t last = count; last-- > 1;) {
        swap(items, 0, last, size);
        sink(items, 0, last, size);
    }
}
