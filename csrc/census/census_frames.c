/* census_frames.c - what census_frames.h tells, thread by thread, behind the walk. */
#include "census_parts.h"

enum { WORD = sizeof(uintptr_t), TAGS = 3, MOST_CHUNKS = 4096, MOST_SLOTS = 1 << 20, MOST_FRAMES = 1 << 24 };
/* _frameowner, Include/internal/pycore_interpframe_structs.h (pycore_frame.h before 3.14) */
enum { OWNED_BY_THREAD = 0, OWNED_BY_GENERATOR = 1 };

/* Addresses that were seen: open addressing, grown by half full. */
typedef struct seen {
    uintptr_t *slots;
    size_t room, count;
} seen;

typedef struct reading {
    mi_claims *mine;
    const mi_frames *frames;
    mi_stack_chunk *chunks;
    size_t chunk_count;
    seen seen;
    mi_thread_frames *to;
    mi_error error;
} reading;

static int put(seen *seen, uintptr_t word) {
    size_t at = (size_t)((uint64_t)word * 0x9E3779B97F4A7C15u >> 20) & (seen->room - 1);
    while (seen->slots[at] && seen->slots[at] != word) at = (at + 1) & (seen->room - 1);
    if (seen->slots[at]) return 0;
    seen->slots[at] = word;
    seen->count++;
    return 1;
}

/* True when it was not there. Without memory to grow, the rest counts as seen. */
static int is_new(reading *reading, uintptr_t word) {
    seen *now = &reading->seen;
    if (now->count * 2 >= now->room) {
        seen more = {.room = now->room ? now->room * 2 : 1024};
        more.slots = mi_os_alloc(more.room * WORD);
        if (!more.slots) {
            reading->error = MI_E_MEMORY;
            return 0;
        }
        for (size_t i = 0; i < now->room; i++)
            if (now->slots[i]) put(&more, now->slots[i]);
        mi_os_free(now->slots, now->room * WORD);
        *now = more;
    }
    return put(now, word);
}

/* Bytes of this process as they lie, where they are mapped: a system call for each word would take longer than the walk. */
static int copy(const mi_claims *mine, uintptr_t address, int32_t offset, void *to, size_t size) {
    const mi_target *target = mine->all->target;
    address += (uintptr_t)offset;
    if (target->kind != MI_TARGET_SELF || !mi_os_maps_covers(&target->maps, address, size))
        return !mi_target_read(target, address, to, size);
    memcpy(to, (const void *)address, size);
    return 1;
}

static int read_word(const mi_claims *mine, uintptr_t address, int32_t offset, uintptr_t *word) {
    return copy(mine, address, offset, word, sizeof *word);
}

/* The bytes of the block or chunk that the object at `object` lies in; 0 when none of the heap's is an object there. */
static uint64_t block_of(mi_claims *mine, uintptr_t object) {
    const mi_census_shared *all = mine->all;
    uint32_t before;
    for (uint32_t place = 0; place < MI_PLACES; place++) {
        uintptr_t content = object - place * MI_PLACE_BYTES, start = content - all->padding;
        mi_census_block block;
        mi_large_chunk chunk;
        if (mi_census_span(all, start) >= 0) {
            if (!mi_census_block_at(mine, start, &block) || mi_census_is_claimed(all, block.bit)) continue;
            if (mi_census_classify(mine, (const unsigned char *)start, block.size, &before) < 0) continue;
            if (start + before == object) return block.size;
        } else if (mi_census_large(all) && mi_census_chunk_of(mine, content, &chunk)) {
            if (!(mi_large_state(&chunk) & MI_LARGE_LIVE)) continue;
            if (mi_census_chunk_type(mine, NULL, &chunk, &before) >= 0 && chunk.user + before == object)
                return chunk.size;
        }
    }
    return 0;
}

static void hold(reading *reading, uintptr_t word) {
    /* from 3.14 on with tags (pycore_stackref.h), an int where all are set */
    if (reading->mine->all->layout->frame_locals != MI_ABSENT) {
        if ((word & TAGS) == TAGS) return;
        word &= ~(uintptr_t)TAGS;
    }
    if (!word || word % WORD) return;
    uint64_t bytes = block_of(reading->mine, word);
    if (!bytes || !is_new(reading, word)) return;
    reading->to->objects++;
    reading->to->bytes += bytes;
}

/* How many local variables a code object has, and how deep its stack gets; false where there is none. */
static int read_code(const mi_claims *mine, uintptr_t code, int32_t *locals, int32_t *stack) {
    const mi_layout *layout = mine->all->layout;
    uintptr_t type;
    if (layout->frame_locals != MI_ABSENT) code &= ~(uintptr_t)TAGS;
    if (code % WORD || !read_word(mine, code, layout->object_type, &type)) return 0;
    int place = mi_types_find(mine->all->types, type);
    if (place < 0 || mine->all->types->items[place].kind != MI_KIND_CODE) return 0;
    if (!copy(mine, code, layout->code_locals, locals, sizeof *locals)) return 0;
    if (!copy(mine, code, layout->code_stack, stack, sizeof *stack)) return 0;
    return *locals >= 0 && *locals < MOST_SLOTS && *stack >= 0 && *stack < MOST_SLOTS;
}

/* The words of a frame that are in use: its variables, and of the evaluation stack what was told when the frame last left
 * the interpreter's loop. */
static int64_t slots_of(const mi_claims *mine, uintptr_t frame, uintptr_t code) {
    const mi_layout *layout = mine->all->layout;
    uintptr_t told;
    int32_t locals = 0, stack = 0, top = -1;
    if (!read_code(mine, code, &locals, &stack)) return -1;
    if (layout->iframe_stacktop != MI_ABSENT) {
        if (!copy(mine, frame, layout->iframe_stacktop, &top, sizeof top)) return -1;
    } else if (read_word(mine, frame, layout->iframe_stackpointer, &told)) {
        uintptr_t first = frame + (uintptr_t)layout->iframe_slots;
        if (told >= first && (told - first) / WORD < MOST_SLOTS) top = (int32_t)((told - first) / WORD);
    }
    return top >= 0 && top <= locals + stack ? top : locals;
}

size_t mi_census_frame_size(const mi_claims *mine, const mi_type *type, const unsigned char *object) {
    const mi_layout *layout = mine->all->layout;
    uintptr_t frame, code = 0;
    int32_t locals = 0, stack = 0;
    if (type->kind == MI_KIND_FRAME) {
        memcpy(&frame, object + layout->frame_frame, sizeof frame);
        if (frame % WORD || !read_word(mine, frame, layout->iframe_code, &code)) code = 0;
    } else {
        memcpy(&code, object + layout->generator_frame + layout->iframe_code, sizeof code);
    }
    if (!read_code(mine, code, &locals, &stack)) locals = stack = 0;
    return type->preheader + type->whole + ((size_t)locals + (size_t)stack) * type->itemsize;
}

static void read_frame(reading *reading, uintptr_t frame) {
    const mi_claims *mine = reading->mine;
    const mi_layout *layout = mine->all->layout;
    const int32_t fields[] = {layout->iframe_code, layout->iframe_function, layout->iframe_locals,
                              layout->iframe_object};
    uintptr_t code, word;
    if (!read_word(mine, frame, layout->iframe_code, &code)) return;
    int64_t slots = slots_of(mine, frame, code);
    if (slots < 0) return;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i] != MI_ABSENT && read_word(mine, frame, fields[i], &word)) hold(reading, word);
    for (int64_t i = 0; i < slots; i++)
        if (read_word(mine, frame, layout->iframe_slots + (int32_t)(i * WORD), &word)) hold(reading, word);
}

static int on_a_chunk(const reading *reading, uintptr_t frame) {
    for (size_t i = 0; i < reading->chunk_count && i < MOST_CHUNKS; i++)
        if (frame - reading->chunks[i].address < reading->chunks[i].size) return 1;
    return 0;
}

static uintptr_t newest_frame(const mi_claims *mine, uintptr_t thread) {
    const mi_layout *layout = mine->all->layout;
    uintptr_t frame = 0, cframe = 0;
    if (layout->thread_frame != MI_ABSENT) {
        read_word(mine, thread, layout->thread_frame, &frame);
    } else if (read_word(mine, thread, layout->thread_cframe, &cframe) && cframe) {
        read_word(mine, cframe, layout->cframe_frame, &frame);
    }
    return frame;
}

static void read_thread(reading *reading, const mi_thread *thread) {
    const mi_claims *mine = reading->mine;
    const mi_layout *layout = mine->all->layout;
    mi_runtime_stack_chunks(reading->frames->runtime, thread, reading->chunks, MOST_CHUNKS, &reading->chunk_count);
    for (size_t i = 0; i < reading->chunk_count && i < MOST_CHUNKS; i++) {
        reading->to->chunks++;
        reading->to->chunk_bytes += reading->chunks[i].size;
    }
    if (reading->seen.slots) memset(reading->seen.slots, 0, reading->seen.room * WORD);
    reading->seen.count = 0;
    uintptr_t frame = newest_frame(mine, thread->address);
    for (int left = MOST_FRAMES; frame && frame % WORD == 0 && left; left--) {
        char owner;
        if (mi_target_is_late(mine->all->target)) return;
        if (!copy(mine, frame, layout->iframe_owner, &owner, sizeof owner)) return;
        int embedded = owner == OWNED_BY_GENERATOR;
        if (embedded || (owner == OWNED_BY_THREAD && on_a_chunk(reading, frame))) {
            *(embedded ? &reading->to->embedded : &reading->to->frames) += 1;
            read_frame(reading, frame);
        }
        if (!read_word(mine, frame, layout->iframe_previous, &frame)) return;
    }
}

static void read_interpreter(reading *reading, mi_frames *frames, const mi_interpreter *interpreter,
                             mi_thread *threads) {
    size_t count = 0;
    mi_runtime_threads(frames->runtime, interpreter, threads, MI_CENSUS_THREADS, &count);
    for (size_t i = 0; i < count && i < MI_CENSUS_THREADS; i++) {
        if (frames->count++ >= frames->room) continue;
        reading->to = &frames->items[frames->count - 1];
        *reading->to = (mi_thread_frames){.native_id = threads[i].native_id, .interpreter = interpreter->id};
        read_thread(reading, &threads[i]);
    }
}

mi_error mi_census_frames_take(mi_claims *mine, mi_frames *frames) {
    reading reading = {.mine = mine, .frames = frames};
    size_t count = 0, sizes[] = {MI_MAX_INTERPRETERS * sizeof(mi_interpreter), MI_CENSUS_THREADS * sizeof(mi_thread),
                                 MOST_CHUNKS * sizeof(mi_stack_chunk)};
    mi_interpreter *found = mi_os_alloc(sizes[0]);
    mi_thread *threads = mi_os_alloc(sizes[1]);
    reading.chunks = mi_os_alloc(sizes[2]);
    if (!found || !threads || !reading.chunks) reading.error = MI_E_MEMORY;
    if (!reading.error) mi_runtime_interpreters(frames->runtime, found, MI_MAX_INTERPRETERS, &count);
    uintptr_t gil = 0;
    for (size_t i = 0; i < count; i++)
        if (found[i].address == frames->interpreter) gil = found[i].gil;
    for (size_t i = 0; i < count && !reading.error; i++) {
        int same = found[i].address == frames->interpreter;
        if (frames->all || same || (!mine->all->layout->free_threaded && found[i].gil == gil))
            read_interpreter(&reading, frames, &found[i], threads);
    }
    mi_os_free(reading.seen.slots, reading.seen.room * WORD);
    mi_os_free(found, sizes[0]);
    mi_os_free(threads, sizes[1]);
    mi_os_free(reading.chunks, sizes[2]);
    return reading.error;
}
