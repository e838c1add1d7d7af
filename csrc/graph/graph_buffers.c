/* graph_buffers.c - whose each block is: buffers that objects own, in the arenas and beyond. */
#include "graph_parts.h"

enum { WORD = sizeof(uintptr_t) };

static int heap_word(struct mi_claims *claims, uintptr_t address, uintptr_t *word) {
    mi_builder *build = (mi_builder *)claims;
    if (address % WORD || !mi_reader_covers(&build->reader, address, sizeof *word)) return 0;
    *word = mi_builder_word(address, 0);
    return 1;
}

static int claim_mark(struct mi_claims *claims, uintptr_t address, mi_owner owner, size_t size) {
    mi_builder *build = (mi_builder *)claims;
    uintptr_t block = address - build->source->padding;
    uint64_t room = address ? mi_blocks_size(&build->blocks, block) : 0;
    (void)owner;
    if (room < size || !room) return 0;
    mi_blocks_take(&build->blocks, block);
    return 1;
}

static size_t heap_room(struct mi_claims *claims, uintptr_t address) {
    mi_builder *build = (mi_builder *)claims;
    uint64_t around = build->source->padding * 3 / 2,
             size = mi_blocks_size(&build->blocks, address - build->source->padding);
    return size > around ? (size_t)(size - around) : 0;
}

static int claim_if_plain(struct mi_claims *claims, uintptr_t word, mi_owner owner) {
    mi_builder *build = (mi_builder *)claims;
    uintptr_t block = word - build->source->padding, object;
    uint64_t size = word ? mi_blocks_size(&build->blocks, block) : 0;
    if (!size || mi_builder_object_in(build, block, size, &object) >= 0) return 0;
    return build->owners.claim(claims, word, owner, 0);
}

/* Bytes of a chunk of glibc's that begins at `block` and holds at least so many: the size word before it, which says where
 * the next chunk is (malloc/malloc.c; the low bits are flags, of which 2 means that it was mmapped). 0 when it is none. */
uint64_t mi_builder_chunk(mi_builder *build, uintptr_t block, size_t at_least) {
    enum { FLAGS = 7, MMAPPED = 2, PREVIOUS_IN_USE = 1 };
    mi_mimalloc_segment segment;
    mi_mimalloc_page page;
    const mi_mimalloc_walk *walk = build->source->mimalloc; /* from 3.15 on it gives raw memory as well */
    if (walk && !mi_mimalloc_locate(build->layout, build->target, walk->cookie, block, &segment, &page))
        return (block - page.first) % page.block_size || page.block_size < at_least ? 0 : page.block_size;
    /* the raw domain's letter and the bytes after it, as _PyMem_DebugRawAlloc writes them (Objects/obmalloc.c) */
    const uintptr_t RAW_PADDING = UINT64_C(0xfdfdfdfdfdfdfd00) | 'r';
    if (block % 16 || !mi_reader_covers(&build->reader, block - 16, 16)) return 0;
    uintptr_t head = mi_builder_word(block, -8);
    if (head ==
        RAW_PADDING) { /* pymalloc under debug hooks asks the raw domain for large blocks, which pads them again */
        block -= build->source->padding;
        if (!mi_reader_covers(&build->reader, block - 16, 16)) return 0;
        head = mi_builder_word(block, -8);
    }
    uintptr_t size = head & ~(uintptr_t)FLAGS;
    if (size < at_least || size < 32 || size % 16 || size > (uintptr_t)1 << 46) return 0;
    if (head & MMAPPED) return (block - 16) % mi_os_page_size() == 0 ? size : 0;
    if (!mi_reader_covers(&build->reader, block - 16 + size, 16)) return 0;
    return mi_builder_word(block - 16 + size, 8) & PREVIOUS_IN_USE ? size : 0;
}

/* .bss goes on where a file's mapping ends, and what is mapped behind it may be in one mapping with it. */
static uintptr_t end_of_file(const mi_builder *build, const mi_maps *maps, const mi_mapping *mapping) {
    if (!mapping || mapping->inode) return mapping ? mapping->end : 0;
    if (mapping->name[0] || mapping == maps->items || !mapping[-1].inode || mapping[-1].end != mapping->start) return 0;
    if (!build->loaded.complete) return mapping->end;
    for (size_t i = 0; i < build->loaded.count; i++)
        if (build->loaded.items[i].bss_start == mapping->start) return build->loaded.items[i].bss_end;
    return 0;
}

int mi_builder_of_file(mi_builder *build, uintptr_t address) {
    const mi_maps *maps = build->source->files ? build->source->files : &build->target->maps;
    const mi_mapping *mapping = build->mapping;
    if (!mapping || address < mapping->start || address >= mapping->end) {
        mapping = build->mapping = mi_os_maps_find(maps, address);
        build->end_of_file = end_of_file(build, maps, mapping);
    }
    return address < build->end_of_file;
}

/* The buffer lies in an arena that is told of: noted, unless the object lies there as well. */
static void note_elsewhere(mi_builder *build, long arena) {
    mi_graph *graph = build->graph;
    const mi_elsewhere *last = graph->elsewhere_count ? &graph->elsewhere[graph->elsewhere_count - 1] : NULL;
    graph->arena_unknown[arena]--;
    if (arena == build->own_arena || (last && last->node == build->node && last->arena == (uint32_t)arena)) return;
    graph->elsewhere = mi_builder_grow(build, graph->elsewhere, graph->elsewhere_count, &graph->elsewhere_room,
                                       sizeof *graph->elsewhere);
    if (!build->error) graph->elsewhere[graph->elsewhere_count++] = (mi_elsewhere){build->node, (uint32_t)arena};
}

static int claim_size(struct mi_claims *claims, uintptr_t address, mi_owner owner, size_t size) {
    mi_builder *build = (mi_builder *)claims;
    uintptr_t block = address - build->source->padding;
    if (!address) return 0;
    uint64_t room = mi_blocks_size(&build->blocks, block);
    if (room) {
        if (room < size) return 0;
        if (!mi_blocks_give(&build->blocks, block)) return 1; /* somebody else's already */
        build->size += room;
        build->small_known += room;
        if (build->graph->arena_count) note_elsewhere(build, mi_blocks_arena(&build->blocks, block));
        return 1;
    }
    /* keys that a type shares count with the type, not with each dict that uses them */
    int shared = owner == MI_OWNER_SHARED_KEYS &&
                 build->source->types->items[build->graph->types[build->node]].kind != MI_KIND_TYPE;
    if (mi_blocks_arena(&build->blocks, block) >= 0 || shared || mi_builder_of_file(build, block)) return 0;
    build->size += mi_builder_chunk(build, block, size);
    return 1;
}

void mi_builder_claims(mi_builder *build, int counting) {
    build->owners = (mi_owner_context){build->layout,
                                       build->source->types,
                                       (struct mi_claims *)build,
                                       counting ? claim_size : claim_mark,
                                       claim_if_plain,
                                       heap_word,
                                       heap_room,
                                       0};
}
