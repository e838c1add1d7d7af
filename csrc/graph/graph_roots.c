/* graph_roots.c - what the interpreter itself refers to: sys.modules, and the frames that threads run. */
#include <string.h>

#include "graph.h"

enum { WORD = sizeof(uintptr_t) };

static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

void mi_graph_tell_modules(mi_reader *reader, uintptr_t interpreter) {
    uintptr_t modules = interpreter + (uintptr_t)reader->layout->interpreter_modules;
    if (mi_reader_covers(reader, modules, WORD) && word_at(modules, 0))
        reader->visit(reader->context, word_at(modules, 0), MI_ROLE_FIELD, (uint64_t)(uintptr_t)"sys.modules");
}

static uintptr_t newest_frame(mi_reader *reader, uintptr_t thread) {
    const mi_layout *layout = reader->layout;
    if (!mi_reader_covers(reader, thread, (size_t)layout->thread_size)) return 0;
    if (layout->thread_frame != MI_ABSENT) return word_at(thread, layout->thread_frame);
    uintptr_t cframe = word_at(thread, layout->thread_cframe);
    if (!cframe || !mi_reader_covers(reader, cframe, (size_t)layout->cframe_frame + WORD)) return 0;
    return word_at(cframe, layout->cframe_frame);
}

static void frames_of_thread(mi_reader *reader, uintptr_t thread, mi_frame_seen seen, void *context) {
    enum { OWNED_BY_THREAD = 0, MOST_FRAMES = 1 << 24 };
    const mi_layout *layout = reader->layout;
    uintptr_t frame = newest_frame(reader, thread);
    for (int left = MOST_FRAMES; frame && left; left--) {
        if (frame % WORD || !mi_reader_covers(reader, frame, (size_t)layout->iframe_slots)) return;
        if (*(const char *)(frame + (uintptr_t)layout->iframe_owner) == OWNED_BY_THREAD) seen(context, thread, frame);
        frame = word_at(frame, layout->iframe_previous);
    }
}

/* Threads of another interpreter stand still with its GIL alone. */
static int stands_still(const mi_runtime *runtime, const mi_interpreter *one, const mi_interpreter *own,
                        mi_still still) {
    if (still == MI_STILL_OWN || runtime->layout->thread_mimalloc != MI_ABSENT) return one == own;
    return still == MI_STILL_ALL || one->gil == own->gil;
}

void mi_graph_each_thread(const mi_runtime *runtime, uintptr_t interpreter, mi_still still,
                          void (*each)(void *, uintptr_t, int), void *context) {
    enum { MOST = 4096 };
    mi_interpreter *found = mi_os_alloc(MI_MAX_INTERPRETERS * sizeof *found);
    mi_thread *threads = mi_os_alloc(MOST * sizeof *threads);
    size_t count = 0, own = 0, running = 0;
    if (found && threads) mi_runtime_interpreters(runtime, found, MI_MAX_INTERPRETERS, &count);
    if (count > MI_MAX_INTERPRETERS) count = MI_MAX_INTERPRETERS;
    for (size_t i = 0; i < count; i++)
        if (found[i].address == interpreter) own = i;
    for (size_t i = 0; i < count; i++) {
        if (!stands_still(runtime, &found[i], &found[own], still)) continue;
        each(context, found[i].address, 1);
        mi_runtime_threads(runtime, &found[i], threads, MOST, &running);
        for (size_t j = 0; j < running && j < MOST; j++) each(context, threads[j].address, 0);
    }
    mi_os_free(found, MI_MAX_INTERPRETERS * sizeof *found);
    mi_os_free(threads, MOST * sizeof *threads);
}

typedef struct frames {
    mi_reader *reader;
    mi_frame_seen seen;
    void *context;
} frames;

static void frames_of(void *context, uintptr_t address, int interpreter) {
    frames *frames = context;
    if (!interpreter) frames_of_thread(frames->reader, address, frames->seen, frames->context);
}

void mi_graph_frames(mi_reader *reader, const mi_runtime *runtime, uintptr_t interpreter, mi_still still,
                     mi_frame_seen seen, void *context) {
    frames frames = {reader, seen, context};
    mi_graph_each_thread(runtime, interpreter, still, frames_of, &frames);
}
