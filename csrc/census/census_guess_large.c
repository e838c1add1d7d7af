/* census_guess_large.c - what points to the chunks of malloc that a census could not name: a guess, and said to be one.
 *
 * C code keeps its memory where it likes; the best witness is a word of an object or a type, then one of a library's static
 * data, then one of a buffer, then one of another unknown chunk. Each unknown chunk has the best that was found; one that
 * only unknown chunks point to has what leads to these. Those with the same are added up. */
#include "census_parts.h"

#include <string.h>

enum { MOST_UNKNOWN = 1 << 16, INDEX_BITS = 18, PART = 4096, MOST_OF_CHUNK = 1 << 20 };

typedef struct unknown_chunk {
    uintptr_t user;
    uint64_t size, room;
    int32_t type;
    uint32_t offset;
    uint16_t kind, object;
    uint16_t class;             /* of mimalloc's sizes, or MI_LARGE_NO_CLASS */
    uint16_t through, followed; /* through: other unknown chunks lie between */
} unknown_chunk;

typedef struct search {
    mi_claims *mine;
    mi_window window;
    mi_objects objects;
    unknown_chunk *chunks;
    uint32_t *index; /* open addressing; item + 1 */
    size_t count;
    uintptr_t low, high;
    int only_unwitnessed; /* look for chunks that nothing but unknown chunks points to */
    unknown_chunk from;   /* kind, type and object of what is being searched */
} search;

static size_t place_of(uintptr_t address) { return (size_t)(mi_types_hash(address) >> (64 - INDEX_BITS)); }

static unknown_chunk *find(const search *search, uintptr_t address) {
    if (address < search->low || address > search->high) return NULL;
    for (size_t at = place_of(address); search->index[at]; at = (at + 1) & (((size_t)1 << INDEX_BITS) - 1))
        if (search->chunks[search->index[at] - 1].user == address) return &search->chunks[search->index[at] - 1];
    return NULL;
}

static void add(search *search, const mi_large_chunk *chunk) {
    if (search->count >= MOST_UNKNOWN) return;
    size_t at = place_of(chunk->user);
    while (search->index[at]) at = (at + 1) & (((size_t)1 << INDEX_BITS) - 1);
    search->chunks[search->count] = (unknown_chunk){
        .user = chunk->user, .size = chunk->size, .room = chunk->room, .type = -1, .class = chunk->class};
    search->index[at] = (uint32_t)++search->count;
    if (chunk->user < search->low) search->low = chunk->user;
    if (chunk->user > search->high) search->high = chunk->user;
}

/* ---- the witnesses --------------------------------------------------------------------------------------------------- */

static void witness(search *search, uintptr_t word, size_t offset, uintptr_t inside) {
    unknown_chunk *chunk = find(search, word);
    uint32_t padding = search->mine->all->padding;
    if (!chunk && padding) chunk = find(search, word - padding);
    if (!chunk || chunk->kind >= search->from.kind || chunk->user == inside) return;
    if (search->only_unwitnessed && chunk->kind > MI_POINTS_UNKNOWN) return;
    chunk->kind = search->from.kind;
    chunk->type = search->from.type;
    chunk->object = search->from.object;
    chunk->through = search->from.through;
    chunk->offset = search->from.through ? search->from.offset : (uint32_t)offset;
}

/* `bytes` lie `offset` bytes into what is searched; `inside`: the chunk that they are of. */
static void search_bytes(search *search, const unsigned char *bytes, size_t size, size_t offset, uintptr_t inside) {
    for (size_t at = 0; at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, bytes + at, sizeof word);
        if (!(word % MI_UNIT)) witness(search, word, offset + at, inside);
    }
}

static void search_range(search *search, uintptr_t from, size_t size, uintptr_t origin, uintptr_t inside) {
    unsigned char part[PART];
    for (size_t at = 0; at < size; at += PART) {
        size_t length = size - at < PART ? size - at : PART;
        if (mi_large_copy(&search->window, from + at, part, length))
            search_bytes(search, part, length, (size_t)(from + at - origin), inside);
    }
}

static void search_block(mi_claims *mine, void *context, uintptr_t block, uint32_t class, int type, uint32_t before) {
    search *search = context;
    uint32_t size = (class + 1) * (uint32_t)mine->all->layout->alignment - mine->all->padding / 2;
    if (before >= size) return;
    search->from.kind = type >= 0 ? MI_POINTS_OBJECT : type == MI_SEEN_CLAIMED ? MI_POINTS_BUFFER : MI_POINTS_UNKNOWN;
    search->from.type = type >= 0 ? type : -1;
    search_bytes(search, (const unsigned char *)(block + before), size - before, 0, 0);
}

static void search_chunk(search *search, const mi_large_chunk *chunk) {
    uint32_t before = 0;
    unsigned state = mi_large_state(chunk);
    int type = state & MI_LARGE_TYPED ? mi_census_chunk_type(search->mine, &search->window, chunk, &before) : -1;
    if (type < 0 || state & MI_LARGE_CLAIMED) before = 0;
    search->from.kind = state & MI_LARGE_CLAIMED ? MI_POINTS_BUFFER : type >= 0 ? MI_POINTS_OBJECT : MI_POINTS_UNKNOWN;
    search->from.type = search->from.kind == MI_POINTS_OBJECT ? type : -1;
    size_t size = chunk->room < MOST_OF_CHUNK ? (size_t)chunk->room : MOST_OF_CHUNK;
    if (size > before) search_range(search, chunk->user + before, size - before, chunk->user + before, chunk->user);
}

/* Static data of what is loaded. */
static void search_objects(search *search) {
    const mi_maps *maps = &search->mine->all->target->maps;
    search->from = (unknown_chunk){.kind = MI_POINTS_DATA, .type = -1};
    for (size_t i = 0; i < search->objects.count && i < UINT16_MAX; i++) {
        const mi_object *object = &search->objects.items[i];
        search->from.object = (uint16_t)i;
        for (size_t at = 0; at < maps->count; at++) {
            const mi_mapping *mapping = &maps->items[at];
            int of_file = mapping->inode && mapping->inode == object->inode && mapping->device == object->device;
            int of_bss = mapping->start >= object->bss_start && mapping->start < object->bss_end;
            if ((!of_file && !of_bss) || !(mapping->flags & MI_MAP_WRITE)) continue;
            uintptr_t end = of_bss && mapping->end > object->bss_end ? object->bss_end : mapping->end;
            search_range(search, mapping->start, end - mapping->start, object->start, 0);
        }
    }
    search->from.object = 0;
}

/* Heap types are objects in chunks; this reads the static ones, too. */
static void search_types(search *search) {
    const mi_census_shared *all = search->mine->all;
    size_t size = (size_t)all->layout->heap_type_size;
    search->from = (unknown_chunk){.kind = MI_POINTS_TYPE, .type = -1};
    for (size_t i = 0; i < all->types->count; i++)
        search_range(search, all->types->items[i].address, size, all->types->items[i].address, 0);
}

/* What a chunk with a witness points to has the same one, from chunk to chunk. */
static void follow(search *search) {
    int changed = 1;
    while (changed && !mi_target_is_late(search->mine->all->target)) {
        changed = 0;
        for (size_t i = 0; i < search->count; i++) {
            unknown_chunk *chunk = &search->chunks[i];
            if (chunk->kind <= MI_POINTS_UNKNOWN || chunk->followed) continue;
            chunk->followed = changed = 1;
            search->from = *chunk;
            search->from.through = 1;
            search->only_unwitnessed = 1;
            size_t size = chunk->room < MOST_OF_CHUNK ? (size_t)chunk->room : MOST_OF_CHUNK;
            search_range(search, chunk->user, size, chunk->user, chunk->user);
            search->only_unwitnessed = 0;
        }
    }
}

/* ---- all of it ------------------------------------------------------------------------------------------------------- */

typedef void (*visit_chunk)(search *search, const mi_large_chunk *chunk);

static void add_unknown(search *search, const mi_large_chunk *chunk) {
    if (!(mi_large_state(chunk) & (MI_LARGE_CLAIMED | MI_LARGE_TYPED))) add(search, chunk);
}

static void each_chunk(search *search, visit_chunk visit) {
    const mi_census_shared *all = search->mine->all;
    mi_large_chunk chunks[MI_LARGE_PER_WORD];
    const mi_large *large = all->large;
    for (size_t i = 0; i < large->sorted; i++) {
        const mi_large_span *span = &large->spans[i];
        size_t end = i + 1 < large->sorted ? span[1].before : large->map_words;
        if (mi_target_is_late(all->target)) return;
        for (size_t at = span->before; at < end; at++) {
            int count = mi_large_in_word(large, span, at, chunks);
            for (int item = 0; item < count; item++) visit(search, &chunks[item]);
        }
    }
}

static int same(const mi_census_large_guess *row, const unknown_chunk *chunk, const char *name) {
    return row->chunks && row->kind == chunk->kind && row->type == chunk->type && row->through == chunk->through &&
           !strcmp(row->object, name) && (row->kind != MI_POINTS_OBJECT || row->offset == chunk->offset);
}

/* A block of mimalloc's small path: in the form of census_guess.c. */
static void note_small(mi_census *census, const unknown_chunk *chunk) {
    int32_t type = chunk->kind == MI_POINTS_OBJECT   ? chunk->type
                   : chunk->kind == MI_POINTS_BUFFER ? MI_SEEN_CLAIMED
                   : chunk->kind == MI_POINTS_TYPE   ? MI_SEEN_TYPE
                                                     : MI_SEEN_UNKNOWN;
    if (chunk->kind == MI_POINTS_NONE || chunk->kind == MI_POINTS_DATA || chunk->through) return;
    for (int i = 0; i < MI_CENSUS_GUESSES; i++) {
        mi_census_guess *guess = &census->guesses[chunk->class][i];
        if (guess->count && (guess->type != type || guess->offset != chunk->offset)) continue;
        *guess = (mi_census_guess){type, -1, chunk->offset, guess->count + 1};
        return;
    }
}

static void add_up(const search *search, mi_census *census) {
    for (size_t i = 0; i < search->count; i++) {
        const unknown_chunk *chunk = &search->chunks[i];
        if (chunk->class != MI_LARGE_NO_CLASS) {
            note_small(census, chunk);
            continue;
        }
        char name[sizeof census->large_guesses->object] = "";
        if (chunk->kind == MI_POINTS_DATA) {
            const char *whole = search->objects.items[chunk->object].name;
            size_t length = strlen(whole);
            memcpy(name, whole, length < sizeof name ? length : sizeof name - 1);
        }
        mi_census_large_guess *row = census->large_guesses, *end = row + MI_CENSUS_LARGE_GUESSES;
        while (row < end - 1 && row->chunks && !same(row, chunk, name)) row++; /* the last row is for all others */
        if (!row->chunks) {
            *row = (mi_census_large_guess){
                .kind = chunk->kind, .type = chunk->type, .offset = chunk->offset, .through = chunk->through};
            memcpy(row->object, name, sizeof name);
        } else if (!same(row, chunk, name)) {
            row->kind = MI_POINTS_NONE;
        }
        row->chunks++;
        row->bytes += chunk->size;
    }
}

mi_error mi_census_guess_large(mi_claims *mine, mi_census *census) {
    search search = {.mine = mine, .low = UINTPTR_MAX};
    size_t chunks = MOST_UNKNOWN * sizeof *search.chunks, index = sizeof *search.index << INDEX_BITS;
    search.chunks = mi_os_alloc(chunks);
    search.index = mi_os_alloc(index);
    mi_error error = search.chunks && search.index
                         ? mi_window_open(&search.window, &mine->all->large->pages, mine->all->steady)
                         : MI_E_MEMORY;
    if (!error) error = mi_objects_list(0, &mine->all->target->maps, &search.objects);
    if (!error) {
        each_chunk(&search, add_unknown);
        mi_census_each_block(mine, search_block, &search);
        each_chunk(&search, search_chunk);
        search_types(&search);
        search_objects(&search);
        follow(&search);
        add_up(&search, census);
        mi_objects_free(&search.objects);
    }
    mi_window_close(&search.window);
    mi_os_free(search.chunks, chunks);
    mi_os_free(search.index, index);
    return error;
}
