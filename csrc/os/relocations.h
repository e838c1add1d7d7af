/* relocations.h - calls out of one loaded object, redirected to functions of ours and back again.
 *
 * A call of libc from libpython (or from an executable that holds the interpreter) goes through a slot: the word that a
 * relocation of kind JUMP_SLOT or GLOB_DAT had the dynamic linker fill in. Replacing the word redirects every later call
 * through it, and no call of any other object. All slots of a set are changed, or none is; what was in them comes back
 * with mi_relocations_restore. A function of ours may still be entered after that, by a thread that had read the slot
 * before: it must stay loaded and forward to the original.
 *
 * The original is asked of dlsym and never taken from a slot: an unbound slot leads into the linker's resolver, which
 * writes the real address back over ours (_dl_fixup in glibc's elf/dl-runtime.c). */
#ifndef MI_RELOCATIONS_H
#define MI_RELOCATIONS_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum { MI_HOOKS_MOST = 8, MI_SLOTS_MOST = 32 };

typedef struct mi_hook {
    const char *symbol;
    void *replacement; /* of ours */
    void *original;    /* written by mi_relocations_find: what the symbol means in this process */
    size_t slots;      /* found; 0: the object does not call it */
} mi_hook;

typedef struct mi_slot {
    void **address;
    void *before;  /* what it held when it was replaced */
    uint32_t hook; /* index into hooks */
    int lazy;      /* it was not bound yet when it was found */
    int read_only; /* its page was read-only when it was found: RELRO */
} mi_slot;

typedef struct mi_relocations {
    mi_hook hooks[MI_HOOKS_MOST];
    size_t hook_count;
    mi_slot slots[MI_SLOTS_MOST];
    size_t count;
    int replaced;      /* the slots are ours now */
    char object[4096]; /* path of the object, "" for the executable */
} mi_relocations;

/* Finds the slots of `hooks` in the object that holds the address `inside`. MI_E_ABSENT: no object of the dynamic
 * linker's holds it, this platform is none that we know, or the first hook has no slot. Nothing is changed. */
mi_error mi_relocations_find(mi_relocations *set, const void *inside, const mi_hook *hooks, size_t count);

/* Replaces all of them. MI_E_PERMISSION: a page could not be made writable (seccomp, SELinux, mseal); then every slot is
 * as it was. */
mi_error mi_relocations_replace(mi_relocations *set);

/* How many slots do not hold our function any more: the resolver, or another tool, wrote to them. They are made ours
 * again when `again` is not 0 and they hold the original. */
size_t mi_relocations_strayed(mi_relocations *set, int again);

/* Puts back what was there. A slot that somebody else has changed meanwhile is left alone and counted in *foreign.
 * MI_E_PERMISSION when a page could not be made writable any more: its slots stay ours, and go on forwarding. */
mi_error mi_relocations_restore(mi_relocations *set, size_t *foreign);

#endif
