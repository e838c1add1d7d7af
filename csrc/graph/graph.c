/* graph.c - makes the arrays of graph.h: which objects there are, how large they are, what they refer to, what holds them.
 *
 * Every object is visited three times in order of address: to find what it refers to outside the arenas, to size it, and to
 * write its references down once all numbers are known. */
#include "graph.h"

#include <string.h>

#include "ask.h"
#include "blocks.h"
#include "object_proof.h"
#include "owners.h"

enum { WORD = sizeof(uintptr_t), LOOK = 4096 /* objects between two looks at the clock */ };

/* A reference on its way into the arrays, or the beginning of a node's row. What has to be looked up for it is asked for
 * when it comes in, and read when others came in behind it: where objects lie shuffled, all time is waiting for memory. */
enum { WAITING = 64, ASKED = 12, BEGINS = 0x100 };
typedef struct waiting {
    uintptr_t to; /* the node, when it begins */
    const mi_index_word *word;
    int64_t node;
    unsigned role;
} waiting;

typedef struct builder {
    mi_graph *graph;
    const mi_graph_source *source;
    const mi_layout *layout;
    const mi_target *target;
    mi_blocks blocks;
    mi_reader reader;
    mi_owner_context owners;
    uintptr_t *todo; /* objects outside the arenas whose references are still to be looked at */
    size_t todo_count, todo_room;
    uint64_t *cannot_go; /* a bit for each object: immortal or static */
    uint32_t *counted, *found;
    uint32_t node, own_arena;   /* that is being looked at */
    uint64_t size, small_known; /* bytes of the object; of all blocks that have an object */
    size_t edge_count;
    waiting waiting[WAITING];
    size_t came, numbered, written; /* of them, counted from the first on */
    const mi_mapping *mapping;      /* the last that was asked for being a file's, and the answer */
    int mapping_of_file;
    mi_error error;
} builder;

static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

static void *grow(builder *build, void *items, size_t count, size_t *room, size_t size) {
    if (count < *room) return items;
    size_t more = *room * 2 + 65536;
    void *grown = mi_os_realloc(items, *room * size, more * size);
    if (!grown) {
        build->error = MI_E_MEMORY;
        return items;
    }
    *room = more;
    mi_os_prefer_huge_pages(grown, more * size);
    return grown;
}

/* ---- what is an object ---------------------------------------------------------------------------------------------- */

static int64_t count_of(const builder *build, uintptr_t object) {
    return mi_object_count(build->layout, (const unsigned char *)object);
}

static int object_in_block(builder *build, uintptr_t block, uint32_t size, uintptr_t *object) {
    uint32_t before;
    int type = mi_object_in_block(build->layout, build->source->types, (const unsigned char *)block, size,
                                  build->source->padding, &before);
    if (type >= 0) *object = block + before;
    return type;
}

/* An address outside the arenas: the type when there is an object, -1 otherwise. */
static int object_outside(builder *build, uintptr_t address) {
    const mi_layout *layout = build->layout;
    if (address % WORD || !mi_reader_covers(&build->reader, address, (size_t)layout->object_size)) return -1;
    int type = mi_object_type(layout, build->source->types, (const unsigned char *)address);
    if (type < 0 || mi_blocks_arena(&build->blocks, address) >= 0) return -1;
    const mi_type *known = &build->source->types->items[type];
    return mi_reader_covers(&build->reader, address - known->preheader, known->preheader + known->basicsize) ? type
                                                                                                             : -1;
}

static int type_of(const builder *build, uintptr_t object) {
    return mi_types_find(build->source->types, word_at(object, build->layout->object_type));
}

/* ---- buffers -------------------------------------------------------------------------------------------------------- */

static int heap_word(struct mi_claims *claims, uintptr_t address, uintptr_t *word) {
    builder *build = (builder *)claims;
    if (address % WORD || !mi_reader_covers(&build->reader, address, sizeof *word)) return 0;
    *word = word_at(address, 0);
    return 1;
}

static int claim_mark(struct mi_claims *claims, uintptr_t address, mi_owner owner, size_t size) {
    builder *build = (builder *)claims;
    uintptr_t block = address - build->source->padding;
    uint32_t room = address ? mi_blocks_size(&build->blocks, block) : 0;
    (void)owner;
    if (room < size || !room) return 0;
    mi_blocks_take(&build->blocks, block);
    return 1;
}

static size_t heap_room(struct mi_claims *claims, uintptr_t address) {
    builder *build = (builder *)claims;
    uint32_t around = build->source->padding * 3 / 2,
             size = mi_blocks_size(&build->blocks, address - build->source->padding);
    return size > around ? size - around : 0;
}

static int claim_if_plain(struct mi_claims *claims, uintptr_t word, mi_owner owner) {
    builder *build = (builder *)claims;
    uintptr_t block = word - build->source->padding, object;
    uint32_t size = word ? mi_blocks_size(&build->blocks, block) : 0;
    if (!size || object_in_block(build, block, size, &object) >= 0) return 0;
    return build->owners.claim(claims, word, owner, 0);
}

/* Bytes of a chunk of glibc's that begins at `block` and holds at least so many: the size word before it, which says where
 * the next chunk is (malloc/malloc.c; the low bits are flags, of which 2 means that it was mmapped). 0 when it is none. */
static uint64_t chunk_bytes(builder *build, uintptr_t block, size_t at_least) {
    enum { FLAGS = 7, MMAPPED = 2, PREVIOUS_IN_USE = 1 };
    /* the raw domain's letter and the bytes after it, as _PyMem_DebugRawAlloc writes them (Objects/obmalloc.c) */
    const uintptr_t RAW_PADDING = UINT64_C(0xfdfdfdfdfdfdfd00) | 'r';
    if (block % 16 || !mi_reader_covers(&build->reader, block - 16, 16)) return 0;
    uintptr_t head = word_at(block, -8);
    if (head ==
        RAW_PADDING) { /* pymalloc under debug hooks asks the raw domain for large blocks, which pads them again */
        block -= build->source->padding;
        if (!mi_reader_covers(&build->reader, block - 16, 16)) return 0;
        head = word_at(block, -8);
    }
    uintptr_t size = head & ~(uintptr_t)FLAGS;
    if (size < at_least || size < 32 || size % 16 || size > (uintptr_t)1 << 46) return 0;
    if (head & MMAPPED) return (block - 16) % mi_os_page_size() == 0 ? size : 0;
    if (!mi_reader_covers(&build->reader, block - 16 + size, 16)) return 0;
    return word_at(block - 16 + size, 8) & PREVIOUS_IN_USE ? size : 0;
}

static int is_of_file(builder *build, uintptr_t address) {
    const mi_maps *maps = build->source->files ? build->source->files : &build->target->maps;
    const mi_mapping *mapping = build->mapping;
    if (!mapping || address < mapping->start || address >= mapping->end) {
        mapping = build->mapping = mi_os_maps_find(maps, address);
        build->mapping_of_file = mapping && mapping->inode;
        if (mapping && !mapping->inode && !mapping->name[0] &&
            mapping > maps->items) /* .bss goes on where a file ends */
            build->mapping_of_file = mapping[-1].inode && mapping[-1].end == mapping->start;
    }
    return build->mapping_of_file;
}

static int claim_size(struct mi_claims *claims, uintptr_t address, mi_owner owner, size_t size) {
    builder *build = (builder *)claims;
    uintptr_t block = address - build->source->padding;
    if (!address) return 0;
    uint32_t room = mi_blocks_size(&build->blocks, block);
    if (room) {
        if (room < size) return 0;
        if (!mi_blocks_give(&build->blocks, block)) return 1; /* somebody else's already */
        build->size += room;
        build->small_known += room;
        uint32_t arena = (uint32_t)mi_blocks_arena(&build->blocks, block);
        build->graph->arena_unknown[arena]--;
        mi_graph *graph = build->graph;
        const mi_elsewhere *last = graph->elsewhere_count ? &graph->elsewhere[graph->elsewhere_count - 1] : NULL;
        if (arena == build->own_arena || (last && last->node == build->node && last->arena == arena)) return 1;
        graph->elsewhere =
            grow(build, graph->elsewhere, graph->elsewhere_count, &graph->elsewhere_room, sizeof *graph->elsewhere);
        if (!build->error) graph->elsewhere[graph->elsewhere_count++] = (mi_elsewhere){build->node, arena};
        return 1;
    }
    /* keys that a type shares count with the type, not with each dict that uses them */
    int shared = owner == MI_OWNER_SHARED_KEYS &&
                 build->source->types->items[build->graph->types[build->node]].kind != MI_KIND_TYPE;
    if (mi_blocks_arena(&build->blocks, block) >= 0 || shared || is_of_file(build, block)) return 0;
    build->size += chunk_bytes(build, block, size);
    return 1;
}

/* ---- which objects there are ---------------------------------------------------------------------------------------- */

static int late(builder *build, uint64_t at) {
    if (at % LOOK == 0 && mi_target_is_late(build->target)) build->error = MI_E_LATE;
    return build->error != MI_OK;
}

static void find_in_pool(builder *build, const mi_pool *pool) {
    if (pool->size_class == MI_POOL_FREE || pool->torn) return;
    const mi_heap *heap = build->source->heap;
    uint32_t size = (pool->size_class + 1u) * 16;
    uintptr_t arena = (uintptr_t)heap->arenas[pool->arena].address,
              end = (uintptr_t)pool->address + (uintptr_t)build->layout->pool_size;
    size_t first = (size_t)pool->arena * build->blocks.words * 64;
    for (uintptr_t block = (uintptr_t)pool->address + (uintptr_t)build->layout->pool_header_size;
         block + size <= end && !build->error; block += size) {
        size_t bit = first + (block - arena) / 16;
        uintptr_t object;
        if (!(heap->blocks[bit / 64] >> bit % 64 & 1)) continue;
        build->graph->small_bytes += size;
        build->graph->arena_unknown[pool->arena]++;
        int type = object_in_block(build, block, size, &object);
        if (type < 0) continue;
        if (!build->error) build->error = mi_address_index_put(&build->graph->index, object, NULL);
        const mi_type *known = &build->source->types->items[type];
        mi_owner_claim(&build->owners, known, object);
        if (mi_owner_is_opaque(known)) mi_owner_claim_opaque(&build->owners, known, object);
    }
}

/* What an owner claims is a buffer, whatever it looks like. */
static void forget_claimed(builder *build) {
    const mi_heap *heap = build->source->heap;
    for (size_t arena = 0; arena < heap->arena_count; arena++)
        for (size_t word = 0; word < build->blocks.words; word++) {
            uint64_t bits = build->blocks.taken[arena * build->blocks.words + word];
            for (; bits; bits &= bits - 1) {
                uintptr_t unit = word * 64 + (uintptr_t)__builtin_ctzll(bits), object;
                uintptr_t block = (uintptr_t)heap->arenas[arena].address + unit * 16;
                if (object_in_block(build, block, mi_blocks_size(&build->blocks, block), &object) < 0) continue;
                mi_address_index_remove(&build->graph->index, object);
                build->graph->mistaken++;
            }
        }
}

static void admit(builder *build, uintptr_t address) {
    int added = 0;
    if (build->error || object_outside(build, address) < 0) return;
    build->error = mi_address_index_put(&build->graph->index, address, &added);
    if (!added || build->error) return;
    build->todo = grow(build, build->todo, build->todo_count, &build->todo_room, sizeof *build->todo);
    if (!build->error) build->todo[build->todo_count++] = address;
}

static void visit_new(void *context, uintptr_t to, unsigned role, uint64_t detail) {
    builder *build = context;
    (void)detail;
    if ((role & ~(unsigned)MI_ROLE_BORROWED) == MI_ROLE_GUESS) return; /* a guess proves nothing new */
    if (mi_blocks_arena(&build->blocks, to) >= 0) return;              /* what lies there is known from its pool */
    if (!mi_address_index_has(&build->graph->index, to)) admit(build, to);
}

static void find_on_list(builder *build, uintptr_t head) {
    const mi_layout *layout = build->layout;
    uintptr_t at = head;
    for (uint64_t steps = 1; !late(build, steps); steps++) {
        if (!mi_reader_covers(&build->reader, at, (size_t)layout->gc_head_size)) return;
        at = word_at(at, layout->gc_next) & ~(uintptr_t)3;
        if (at == head || !at) return;
        if (mi_blocks_arena(&build->blocks, at) < 0) admit(build, at + (uintptr_t)layout->gc_head_size);
    }
}

static void find_tracked(builder *build) {
    const mi_layout *layout = build->layout;
    uintptr_t gc = build->source->interpreter + (uintptr_t)layout->interpreter_gc;
    if (layout->gc_head_size == MI_ABSENT) return;
    for (int i = 0; i < 3; i++)
        find_on_list(build, gc + (uintptr_t)layout->gc_generations + (uintptr_t)(i * layout->gc_generation_size));
    find_on_list(build, gc + (uintptr_t)layout->gc_permanent);
}

static void find_referred(builder *build) {
    mi_index_walk walk = {0};
    build->reader.visit = visit_new;
    for (uint64_t seen = 0; !late(build, seen) && mi_address_index_next(&build->graph->index, &walk); seen++)
        mi_references_of(&build->reader, walk.address, type_of(build, walk.address));
    for (size_t i = 0; i < build->source->types->count; i++) admit(build, build->source->types->items[i].address);
    mi_graph_tell_modules(&build->reader, build->source->interpreter);
    for (uint64_t seen = 0; build->todo_count && !late(build, seen); seen++) {
        uintptr_t object = build->todo[--build->todo_count];
        mi_references_of(&build->reader, object, type_of(build, object));
    }
}

/* ---- sizes and counts ----------------------------------------------------------------------------------------------- */

static int is_immortal(const builder *build, int64_t count) {
    enum { IMMORTAL_311 = 500000000 }; /* _PyObject_IMMORTAL_REFCNT less what a program may add to it */
    if (build->layout->object_immortal_bit != MI_ABSENT) return (int)(count >> build->layout->object_immortal_bit & 1);
    return count >= IMMORTAL_311;
}

static void measure(builder *build, uintptr_t object) {
    mi_graph *graph = build->graph;
    const int type = type_of(build, object);
    const mi_type *known = &build->source->types->items[type];
    uint32_t node = build->node;
    uintptr_t block = object - known->preheader - build->source->padding;
    int64_t count = count_of(build, object);
    long arena = mi_blocks_arena(&build->blocks, object);
    int fixed = is_immortal(build, count);
    graph->types[node] = (uint32_t)type;
    build->counted[node] = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    build->own_arena = (uint32_t)arena;
    build->size = 0;
    if (arena >= 0) {
        build->size = mi_blocks_size(&build->blocks, block);
        build->small_known += build->size;
        graph->arena_unknown[arena]--;
        if (graph->arena_end[arena] == 0) graph->arena_first[arena] = node;
        graph->arena_end[arena] = node + 1;
    } else if (is_of_file(build, object)) {
        fixed = 1;
    } else {
        build->size = chunk_bytes(build, block, known->preheader + known->basicsize);
    }
    mi_owner_claim(&build->owners, known, object);
    if (mi_owner_is_opaque(known)) mi_owner_claim_opaque(&build->owners, known, object);
    uint64_t units = build->size / MI_GRAPH_UNIT;
    graph->sizes[node] = units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
    if (fixed) build->cannot_go[node / 64] |= 1ull << node % 64;
}

static int cannot_go(const builder *build, uint32_t node) { return build->cannot_go[node / 64] >> node % 64 & 1; }

/* ---- references ----------------------------------------------------------------------------------------------------- */

static void edge_add(builder *build, uint32_t to) {
    mi_graph *graph = build->graph;
    if (build->edge_count > UINT32_MAX - 1) build->error = MI_E_LIMIT;
    graph->edges = grow(build, graph->edges, build->edge_count, &graph->edge_room, sizeof *graph->edges);
    if (!build->error) graph->edges[build->edge_count++] = to;
}

static void waiting_number(builder *build) {
    waiting *item = &build->waiting[build->numbered++ % WAITING];
    if (item->role == BEGINS) return;
    item->node = mi_index_word_number(item->word, item->to);
    if (item->node >= 0) MI_ASK_TO_WRITE(&build->found[item->node]);
}

static void waiting_write(builder *build) {
    const waiting *item = &build->waiting[build->written++ % WAITING];
    if (item->role == BEGINS) {
        build->graph->offsets[item->to] = (uint32_t)build->edge_count;
        return;
    }
    if (item->node < 0) return;
    if (cannot_go(build, (uint32_t)item->node)) {
        build->graph->dropped++;
        return;
    }
    build->graph->references++;
    if (item->role == MI_ROLE_GUESS) build->graph->guesses++;
    if (item->role == MI_ROLE_CALLED) build->graph->called++;
    if (!(item->role & MI_ROLE_BORROWED)) build->found[item->node]++;
    edge_add(build, (uint32_t)item->node);
}

static void waiting_add(builder *build, uintptr_t to, unsigned role, const mi_index_word *word) {
    build->waiting[build->came++ % WAITING] = (waiting){to, word, -1, role};
    if (word) MI_ASK(word);
    if (build->came - build->numbered > ASKED) waiting_number(build);
    if (build->numbered - build->written > ASKED) waiting_write(build);
}

static void row_begins(builder *build, uint32_t node) { waiting_add(build, node, BEGINS, NULL); }

static void waiting_end(builder *build) {
    while (build->numbered < build->came) waiting_number(build);
    while (build->written < build->came) waiting_write(build);
}

static void visit_known(void *context, uintptr_t to, unsigned role, uint64_t detail) {
    builder *build = context;
    (void)detail;
    waiting_add(build, to, role, to % 8 ? NULL : mi_address_index_word(&build->graph->index, to));
}

static void write_objects(builder *build) {
    mi_graph *graph = build->graph;
    mi_index_walk walk = {0};
    build->reader.visit = visit_known;
    for (build->node = 0; !late(build, build->node) && mi_address_index_next(&graph->index, &walk); build->node++) {
        row_begins(build, build->node);
        mi_references_of(&build->reader, walk.address, (int)graph->types[build->node]);
    }
}

/* ---- roots ---------------------------------------------------------------------------------------------------------- */

static void frame_tell(void *context, uintptr_t thread, uintptr_t frame) {
    (void)thread;
    mi_references_of_frame(context, frame);
}

/* Marks the objects that a structure's words name and whose counts say that somebody holds them. */
typedef struct state {
    builder *build;
    uint64_t *named;
} state;

static void state_of(void *context, uintptr_t address, int interpreter) {
    state *state = context;
    builder *build = state->build;
    size_t size = (size_t)(interpreter ? build->layout->interpreter_size : build->layout->thread_size);
    if (!mi_reader_covers(&build->reader, address, size)) return;
    for (size_t at = 0; at + WORD <= size; at += WORD) {
        int64_t node = mi_address_index_find(&build->graph->index, word_at(address + at, 0));
        if (node >= 0) state->named[node / 64] |= 1ull << node % 64;
    }
}

static void write_roots(builder *build) {
    mi_graph *graph = build->graph;
    const mi_graph_source *source = build->source;
    uint32_t objects = graph->objects, *offsets = graph->offsets + objects;
    size_t bits = (objects / 64 + 1) * 8;
    state state = {build, mi_os_alloc(bits)};
    if (!state.named) build->error = MI_E_MEMORY;
    if (build->error) return;
    mi_graph_each_thread(source->runtime, source->interpreter, state_of, &state);
    row_begins(build, objects + MI_ROOT_MODULES);
    mi_graph_tell_modules(&build->reader, source->interpreter);
    row_begins(build, objects + MI_ROOT_FRAMES);
    mi_graph_frames(&build->reader, source->runtime, source->interpreter, frame_tell, &build->reader);
    waiting_end(build);
    for (uint32_t node = 0; node < objects; node++)
        graph->unexplained[node] = cannot_go(build, node) || build->counted[node] <= build->found[node]
                                       ? 0
                                       : build->counted[node] - build->found[node];
    offsets[MI_ROOT_STATE] = (uint32_t)build->edge_count;
    for (uint32_t node = 0; node < objects; node++)
        if (graph->unexplained[node] && state.named[node / 64] >> node % 64 & 1) edge_add(build, node);
    offsets[MI_ROOT_STATIC] = (uint32_t)build->edge_count;
    for (uint32_t node = 0; node < objects; node++)
        if (cannot_go(build, node)) edge_add(build, node);
    offsets[MI_ROOT_C] = (uint32_t)build->edge_count;
    for (uint32_t node = 0; node < objects; node++)
        if (graph->unexplained[node] && !(state.named[node / 64] >> node % 64 & 1)) edge_add(build, node);
    offsets[MI_ROOT_MEMORY] = offsets[MI_ROOTS] = (uint32_t)build->edge_count;
    mi_os_free(state.named, bits);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static mi_error tables_make(builder *build) {
    mi_graph *graph = build->graph;
    size_t words = ((size_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t), bits = (graph->objects / 64 + 1) * 8;
    if (graph->objects > UINT32_MAX - MI_ROOTS - 4) return MI_E_LIMIT;
    graph->types = mi_os_alloc(words);
    graph->sizes = mi_os_alloc(words);
    graph->offsets = mi_os_alloc(words);
    graph->unexplained = build->found = mi_os_alloc(words);
    build->counted = mi_os_alloc(words);
    build->cannot_go = mi_os_alloc(bits);
    void *const large[] = {graph->types, graph->sizes, graph->offsets, build->found, build->counted};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) mi_os_prefer_huge_pages(large[i], words);
    return graph->types && graph->sizes && graph->offsets && build->found && build->counted && build->cannot_go
               ? MI_OK
               : MI_E_MEMORY;
}

static mi_error arenas_note(builder *build) {
    mi_graph *graph = build->graph;
    const mi_heap *heap = build->source->heap;
    graph->arena_count = heap->arena_count;
    graph->arena_size = (size_t)build->layout->arena_size;
    graph->arenas = mi_os_alloc(heap->arena_count * sizeof *graph->arenas);
    graph->arena_bytes = mi_os_alloc(heap->arena_count * sizeof *graph->arena_bytes);
    graph->arena_blocks = mi_os_alloc(heap->arena_count * sizeof *graph->arena_blocks);
    graph->arena_unknown = mi_os_alloc(heap->arena_count * sizeof *graph->arena_unknown);
    graph->arena_first = mi_os_alloc(heap->arena_count * sizeof *graph->arena_first);
    graph->arena_end = mi_os_alloc(heap->arena_count * sizeof *graph->arena_end);
    if (!graph->arenas || !graph->arena_bytes || !graph->arena_blocks || !graph->arena_unknown || !graph->arena_first ||
        !graph->arena_end)
        return MI_E_MEMORY;
    for (size_t i = 0; i < heap->arena_count; i++) {
        graph->arenas[i] = heap->arenas[i].address;
        graph->arena_bytes[i] = heap->arenas[i].used_bytes;
        graph->arena_blocks[i] = heap->arenas[i].used_blocks;
        if (!mi_os_maps_covers(&build->target->maps, (uintptr_t)graph->arenas[i], graph->arena_size))
            return MI_E_UNMAPPED;
    }
    return MI_OK;
}

static mi_error build_all(builder *build) {
    mi_graph *graph = build->graph;
    const mi_heap *heap = build->source->heap;
    build->owners.claim = claim_mark;
    for (size_t i = 0; i < heap->pool_count && !late(build, i * 256); i++) find_in_pool(build, &heap->pools[i]);
    forget_claimed(build);
    find_tracked(build);
    find_referred(build);
    if (!build->error) build->error = mi_address_index_seal(&graph->index);
    graph->objects = graph->index.count;
    if (!build->error) build->error = tables_make(build);
    build->owners.claim = claim_size;
    mi_index_walk walk = {0};
    for (build->node = 0; !late(build, build->node) && mi_address_index_next(&graph->index, &walk); build->node++)
        measure(build, walk.address);
    if (!build->error) write_objects(build);
    if (!build->error) write_roots(build);
    if (build->error) return build->error;
    graph->sizes[graph->objects + MI_ROOT_MEMORY] =
        (uint32_t)((graph->small_bytes - build->small_known) / MI_GRAPH_UNIT);
    return MI_OK;
}

mi_error mi_graph_build(mi_graph *graph, const mi_graph_source *source) {
    uint64_t begun = mi_os_now_ns();
    memset(graph, 0, sizeof *graph);
    if (source->runtime->layout->gc_head_size == MI_ABSENT) return MI_E_ABSENT;
    builder build = {.graph = graph,
                     .source = source,
                     .layout = source->runtime->layout,
                     .target = source->runtime->target,
                     .node = 0};
    build.reader =
        (mi_reader){build.target, build.layout, source->types, source->shapes, NULL, NULL, &build, source->foreign};
    build.owners = (mi_owner_context){
        build.layout, source->types, (struct mi_claims *)&build, NULL, claim_if_plain, heap_word, heap_room, 0};
    mi_address_index_init(&graph->index);
    mi_error error = mi_blocks_open(&build.blocks, source->heap, build.layout);
    if (!error) error = arenas_note(&build);
    if (!error) error = build_all(&build);
    size_t words = ((size_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t);
    mi_os_free(build.counted, build.counted ? words : 0);
    mi_os_free(build.cannot_go, (graph->objects / 64 + 1) * 8);
    mi_os_free(build.todo, build.todo_room * sizeof *build.todo);
    mi_blocks_close(&build.blocks);
    if (error) mi_graph_free(graph);
    graph->build_ns = mi_os_now_ns() - begun;
    return error;
}

void mi_graph_free(mi_graph *graph) {
    size_t words = ((size_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t);
    if (graph->lent) {
        memset(graph, 0, sizeof *graph);
        return;
    }
    mi_address_index_free(&graph->index);
    mi_os_free(graph->types, words);
    mi_os_free(graph->sizes, words);
    mi_os_free(graph->offsets, words);
    mi_os_free(graph->unexplained, words);
    mi_os_free(graph->edges, graph->edge_room * sizeof *graph->edges);
    mi_os_free(graph->elsewhere, graph->elsewhere_room * sizeof *graph->elsewhere);
    mi_os_free(graph->arenas, graph->arena_count * sizeof *graph->arenas);
    mi_os_free(graph->arena_bytes, graph->arena_count * sizeof *graph->arena_bytes);
    mi_os_free(graph->arena_blocks, graph->arena_count * sizeof *graph->arena_blocks);
    mi_os_free(graph->arena_unknown, graph->arena_count * sizeof *graph->arena_unknown);
    mi_os_free(graph->arena_first, graph->arena_count * sizeof *graph->arena_first);
    mi_os_free(graph->arena_end, graph->arena_count * sizeof *graph->arena_end);
    memset(graph, 0, sizeof *graph);
}

uint64_t mi_graph_bytes(const mi_graph *graph) {
    uint64_t words = ((uint64_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t);
    return mi_address_index_bytes(&graph->index) + 4 * words +
           graph->offsets[mi_graph_nodes(graph)] * sizeof(uint32_t) + graph->elsewhere_count * sizeof *graph->elsewhere;
}
