/* record.h - what a measured program leaves for the launcher, in a file in memory that both have open.
 *
 * Records follow one another, each appended by one write: this header, then `size` bytes. The readers are
 * src/meminspect/launch/records.py; the writers preload.c, the Cython door and launch/hooked/sitecustomize.py. */
#ifndef MI_RECORD_H
#define MI_RECORD_H

#include <stdint.h>

#define MI_RECORD_MAGIC 0x3152494du /* "MIR1" */

enum {
    MI_RECORD_HOOKED = 1, /* text: how we came in; without it the program was never reached */
    MI_RECORD_START = 2,  /* a measurement before the program's first line */
    MI_RECORD_EVERY = 3,  /* one on the way */
    MI_RECORD_TAKING = 4, /* empty: the last one begins; alone at the end it means that the measurement failed */
    MI_RECORD_FINAL = 5,  /* the last one */
    MI_RECORD_FAILED = 6, /* text: why a measurement could not be taken */
    MI_RECORD_ORDER = 7   /* text: left by the launcher before the start, for a capture that is to know more */
};

typedef struct mi_record {
    uint32_t magic, kind;
    int32_t pid;
    uint32_t reserved;
    uint64_t size;
    int64_t monotonic_ns, realtime_ns;
} mi_record;

#endif
