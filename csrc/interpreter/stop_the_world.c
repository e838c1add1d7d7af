/* stop_the_world.c - _PyEval_StopTheWorld() and _PyEval_StartTheWorld() of Python/pystate.c, found by name. */
#define _GNU_SOURCE
#include "stop_the_world.h"

#include <dlfcn.h>
#include <string.h>

#include "os.h"

typedef void (*world_function)(void *interpreter);

/* ISO C has no conversion from dlsym's pointer to a function's: the bytes are copied. */
static world_function find(const char *name) {
    world_function function;
    void *symbol = dlsym(RTLD_DEFAULT, name);
    memcpy(&function, &symbol, sizeof function);
    return function;
}

int mi_world_can_stop(void) { return find("_PyEval_StopTheWorld") && find("_PyEval_StartTheWorld"); }

mi_error mi_world_stop(void *interpreter, mi_pause *pause) {
    world_function stop = find("_PyEval_StopTheWorld");
    memset(pause, 0, sizeof *pause);
    /* looked up before the stop: dlsym takes the loader's lock, which a thread that is stopped may hold */
    pause->start = find("_PyEval_StartTheWorld");
    if (!stop || !pause->start) return MI_E_ABSENT;
    pause->asked_ns = mi_os_now_ns();
    stop(interpreter);
    pause->stopped_ns = mi_os_now_ns();
    return MI_OK;
}

void mi_world_start(void *interpreter, mi_pause *pause) {
    pause->start(interpreter);
    pause->started_ns = mi_os_now_ns();
}
