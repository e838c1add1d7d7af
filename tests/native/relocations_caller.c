/* relocations_caller.c - the object whose calls are redirected: a part of the executable, or a library. */
#include <unistd.h>

int caller_call(int times) {
    int parent = 0;
    while (times--) parent = (int)getppid();
    return parent;
}

const void *caller_inside(void) { return (const void *)caller_call; }
