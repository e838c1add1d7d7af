/* native_threads.c - threads that CPython did not make, each of which takes the GIL once. */
#include <pthread.h>
#include <stddef.h>

int PyGILState_Ensure(void);
void PyGILState_Release(int);

static pthread_mutex_t own = PTHREAD_MUTEX_INITIALIZER;

static void *once(void *unused) {
    pthread_mutex_lock(&own); /* its own calls of the functions that are redirected in the interpreter */
    pthread_mutex_unlock(&own);
    PyGILState_Release(PyGILState_Ensure());
    return unused;
}

int one_after_another(int count) {
    pthread_t thread;
    while (count--)
        if (pthread_create(&thread, NULL, once, NULL) || pthread_join(thread, NULL)) return -1;
    return 0;
}
