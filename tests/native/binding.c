/* binding.c - looks at a slot of the interpreter's, and lets the dynamic linker bind it. */
#include "slots.h"

#include <pthread.h>
#include <time.h>

static void **slot;

static void keep(uintptr_t at, const char *name, void *wanted) {
    if (!strcmp(name, wanted)) slot = (void **)at;
}

/* The slot by which the interpreter calls `name`, and whether the dynamic linker has yet to bind it. */
void *find_slot(const char *name, int *is_lazy) {
    slots_find(keep, (void *)name);
    if (!slot) return 0;
    *is_lazy = *slot != dlsym(RTLD_DEFAULT, name);
    return slot;
}

void *slot_holds(void) { return *slot; }

/* What a thread does that went into the linker's resolver before the slot was replaced: the resolver binds the slot. */
int bind_by(int (*stub)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *)) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    struct timespec past = {0, 0};
    pthread_mutex_lock(&mutex);
    int error = stub(&cond, &mutex, &past);
    pthread_mutex_unlock(&mutex);
    return error;
}
