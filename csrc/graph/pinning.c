/* pinning.c - the keys of every arena.
 *
 * Where the dominator tree is numbered from the root down, each branch before the next, what a node dominates is one interval
 * of these places. So the lowest common dominator of many nodes is that of the first and the last of them, and it is the
 * first above one of them whose interval has the other. */
#include "pinning.h"

#include <string.h>

#include "ask.h"

enum { FIXED = MI_NO_NODE, FIXED_WHOLE = MI_NO_NODE - 1 /* what it dominates too */, GARBAGE = MI_NO_NODE - 2 };

typedef struct group { /* what lies in an arena under one highest object */
    uint32_t highest, lowest;
    uint32_t from, to; /* the first and the last place */
} group;

typedef struct finder {
    const mi_graph *graph;
    const mi_dominators *tree;
    const mi_types *types;
    const mi_loss *own;
    mi_pinning *result;
    uint64_t *held;    /* a bit for each node: held by what no program lets go of */
    uint32_t *place;   /* of each number */
    uint32_t *size;    /* of each number: how many it dominates, itself included */
    uint32_t *met;     /* of each number: its group in the arena that is looked at, unless that says another */
    uint32_t *bucket;  /* arena_count + 1: where its entries begin in `buffers` */
    uint32_t *buffers; /* nodes that have a buffer in the arena */
    group *groups;
    uint32_t group_count, most;
    size_t words;
} finder;

/* ---- what is fixed -------------------------------------------------------------------------------------------------- */

static void hold(finder *find, uint32_t node) { find->held[node / 64] |= 1ull << node % 64; }

static int kind_of(const finder *find, uint32_t number) {
    uint32_t node = find->tree->node[number];
    return node < find->graph->objects ? find->types->items[find->graph->types[node]].kind : -1;
}

/* What a module, a type or a function refers to as a dict is part of it: its names. */
static void hold_names(finder *find) {
    const mi_graph *graph = find->graph;
    for (uint32_t node = 0; node < graph->objects; node++) {
        int kind = find->types->items[graph->types[node]].kind;
        if (kind != MI_KIND_MODULE && kind != MI_KIND_TYPE && kind != MI_KIND_FUNCTION) continue;
        for (uint32_t at = graph->offsets[node]; at < graph->offsets[node + 1]; at++) {
            uint32_t to = graph->edges[at];
            if (to < graph->objects && find->types->items[graph->types[to]].kind == MI_KIND_DICT) hold(find, to);
        }
    }
}

static int is_fixed(const finder *find, uint32_t number) {
    uint32_t node = find->tree->node[number];
    if (node >= find->graph->objects || find->held[node / 64] >> node % 64 & 1) return 1;
    int kind = kind_of(find, number);
    return kind == MI_KIND_TYPE || kind == MI_KIND_CODE || kind == MI_KIND_FUNCTION || kind == MI_KIND_MODULE;
}

static void find_highest(finder *find) {
    const mi_graph *graph = find->graph;
    uint32_t *highest = find->result->highest, unreachable = find->tree->unreachable;
    static const mi_root holding[] = {MI_ROOT_MODULES, MI_ROOT_STATE, MI_ROOT_STATIC, MI_ROOT_C};
    for (size_t i = 0; i < sizeof holding / sizeof *holding; i++) {
        uint32_t root = graph->objects + holding[i];
        for (uint32_t at = graph->offsets[root]; at < graph->offsets[root + 1]; at++) hold(find, graph->edges[at]);
    }
    hold_names(find);
    highest[0] = FIXED;
    for (uint32_t number = 1; number < find->result->numbers; number++) {
        uint32_t above = highest[find->tree->dominator[number]];
        if (number == unreachable)
            highest[number] = GARBAGE;
        else if (above != FIXED)
            highest[number] = above;
        else if (kind_of(find, number) == MI_KIND_CODE)
            highest[number] = FIXED_WHOLE;
        else
            highest[number] = is_fixed(find, number) ? FIXED : number;
    }
}

/* ---- places --------------------------------------------------------------------------------------------------------- */

/* The place of each number, and how many it dominates, itself included; both begin as zeros, and `next` ends as such. */
static void find_places(const mi_dominators *tree, uint32_t *place, uint32_t *size, uint32_t *next) {
    const uint32_t *above = tree->dominator;
    uint32_t count = tree->nodes + 2;
    for (uint32_t number = count; number-- > 1;) size[above[number]] += ++size[number];
    size[0]++;
    next[0] = 1;
    for (uint32_t number = 1; number < count; number++) {
        place[number] = next[above[number]];
        next[above[number]] += size[number];
        next[number] = place[number] + 1;
    }
    memset(next, 0, count * sizeof *next);
}

mi_error mi_retained_by_type(const mi_graph *graph, const mi_dominators *tree, size_t types, uint64_t *retained,
                             uint64_t *objects) {
    uint32_t count = tree->nodes + 2;
    size_t words = (size_t)count * sizeof(uint32_t), ends = (types + 1) * sizeof(uint32_t);
    uint32_t *place = mi_os_alloc(words), *size = mi_os_alloc(words), *at = mi_os_alloc(words),
             *end = mi_os_alloc(ends);
    mi_error error = place && size && at && end ? MI_OK : MI_E_MEMORY;
    if (!error) {
        uint32_t *const large[] = {place, size, at};
        for (size_t i = 0; i < sizeof large / sizeof *large; i++) mi_os_prefer_huge_pages(large[i], words);
        find_places(tree, place, size, at);
        for (uint32_t number = 0; number < count; number++) at[place[number]] = number;
        for (uint32_t i = 0; i < count; i++) { /* in order of place: `end` is where the last one on top ends */
            enum { FAR = 24, NEAR = 12 };
            if (count - i > FAR) MI_ASK(&tree->node[at[i + FAR]]);
            if (count - i > NEAR && tree->node[at[i + NEAR]] < graph->objects)
                MI_ASK(&graph->types[tree->node[at[i + NEAR]]]);
            uint32_t number = at[i], node = tree->node[number];
            if (node >= graph->objects) continue;
            uint32_t type = graph->types[node];
            objects[type]++;
            if (i < end[type]) continue;
            retained[type] += tree->retained[number];
            end[type] = i + size[number];
        }
    }
    mi_os_free(place, words);
    mi_os_free(size, words);
    mi_os_free(at, words);
    mi_os_free(end, ends);
    return error;
}

/* The buffers by arena: a counting sort. */
static void sort_buffers(finder *find) {
    const mi_graph *graph = find->graph;
    uint32_t *bucket = find->bucket;
    for (size_t i = 0; i < graph->elsewhere_count; i++) bucket[graph->elsewhere[i].arena + 1]++;
    for (size_t arena = 0; arena < graph->arena_count; arena++) bucket[arena + 1] += bucket[arena];
    for (size_t i = graph->elsewhere_count; i--;) {
        uint32_t arena = graph->elsewhere[i].arena;
        find->buffers[--bucket[arena + 1]] = graph->elsewhere[i].node;
    }
    for (size_t arena = 0; arena < graph->arena_count; arena++) bucket[arena] = bucket[arena + 1];
    bucket[graph->arena_count] = (uint32_t)graph->elsewhere_count;
}

/* ---- one arena ------------------------------------------------------------------------------------------------------ */

/* Puts a node into its group; what the arena is then. */
static mi_pin meet(finder *find, uint32_t node) {
    uint32_t number = find->tree->number[node], highest = find->result->highest[number];
    if (find->own->gone[node / 64] >> node % 64 & 1) return MI_PIN_NOTHING;
    if (highest > MI_PIN_NO_KEY) return highest == GARBAGE ? MI_PIN_GARBAGE : MI_PIN_FIXED;
    uint32_t at = find->met[highest], place = find->place[number];
    if (at >= find->group_count || find->groups[at].highest != highest) {
        if (find->group_count == find->most) return MI_PIN_MANY;
        find->met[highest] = at = find->group_count++;
        find->groups[at] = (group){highest, number, place, place};
    }
    group *group = &find->groups[at];
    if (place < group->from) {
        group->from = place;
        group->lowest = number;
    }
    if (place > group->to) group->to = place;
    return MI_PIN_KEYS;
}

static mi_pin look(finder *find, size_t arena) {
    const mi_graph *graph = find->graph;
    mi_pin pin = MI_PIN_NOTHING;
    find->group_count = 0;
    if (graph->arena_unknown[arena]) return MI_PIN_UNKNOWN;
    for (uint32_t node = graph->arena_first[arena]; node < graph->arena_end[arena]; node++) {
        mi_pin met = meet(find, node);
        if (met > pin) pin = met;
        if (pin == MI_PIN_FIXED) return pin;
    }
    for (uint32_t i = find->bucket[arena]; i < find->bucket[arena + 1]; i++) {
        mi_pin met = meet(find, find->buffers[i]);
        if (met > pin) pin = met;
        if (pin == MI_PIN_FIXED) return pin;
    }
    return pin;
}

static mi_error keys_add(finder *find) {
    mi_pinning *result = find->result;
    for (uint32_t i = 0; i < find->group_count; i++) {
        uint32_t key = find->groups[i].lowest;
        while (find->place[key] + find->size[key] <= find->groups[i].to) key = find->tree->dominator[key];
        if (result->key_count == result->key_room) {
            size_t room = result->key_room * 2 + 1024, size = sizeof *result->keys;
            uint32_t *keys = mi_os_realloc(result->keys, result->key_room * size, room * size);
            if (!keys) return MI_E_MEMORY;
            result->keys = keys;
            result->key_room = room;
        }
        result->keys[result->key_count++] = key;
    }
    return MI_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

mi_error mi_pinning_find(const mi_graph *graph, const mi_dominators *tree, const mi_types *types, const mi_loss *own,
                         uint32_t most, mi_pinning *result) {
    memset(result, 0, sizeof *result);
    result->arenas = graph->arena_count;
    result->numbers = (size_t)mi_graph_nodes(graph) + 2;
    finder find = {.graph = graph, .tree = tree, .types = types, .own = own, .result = result, .most = most};
    size_t bits = (mi_graph_nodes(graph) / 64 + 1) * 8, arenas = (result->arenas + 1) * sizeof(uint32_t);
    size_t buffers = (graph->elsewhere_count + 1) * sizeof(uint32_t), groups = (most + 1) * sizeof *find.groups;
    find.words = result->numbers * sizeof(uint32_t);
    find.held = mi_os_alloc(bits);
    find.place = mi_os_alloc(find.words);
    find.size = mi_os_alloc(find.words);
    find.met = mi_os_alloc(find.words);
    find.bucket = mi_os_alloc(arenas);
    find.buffers = mi_os_alloc(buffers);
    find.groups = mi_os_alloc(groups);
    result->highest = mi_os_alloc(find.words);
    result->pins = mi_os_alloc(result->arenas + 1);
    result->first = mi_os_alloc(arenas);
    mi_error error = find.held && find.place && find.size && find.met && find.bucket && find.buffers && find.groups &&
                             result->highest && result->pins && result->first
                         ? MI_OK
                         : MI_E_MEMORY;
    if (!error) {
        find_highest(&find);
        find_places(tree, find.place, find.size, find.met);
        sort_buffers(&find);
    }
    for (size_t arena = 0; !error && arena < result->arenas; arena++) {
        mi_pin pin = look(&find, arena);
        result->pins[arena] = (uint8_t)pin;
        if (pin == MI_PIN_KEYS) error = keys_add(&find);
        result->first[arena + 1] = (uint32_t)result->key_count;
    }
    mi_os_free(find.held, bits);
    mi_os_free(find.place, find.words);
    mi_os_free(find.size, find.words);
    mi_os_free(find.met, find.words);
    mi_os_free(find.bucket, arenas);
    mi_os_free(find.buffers, buffers);
    mi_os_free(find.groups, groups);
    if (error) mi_pinning_free(result);
    return error;
}

void mi_pinning_free(mi_pinning *result) {
    mi_os_free(result->keys, result->key_room * sizeof *result->keys);
    mi_os_free(result->highest, result->numbers * sizeof *result->highest);
    mi_os_free(result->pins, result->arenas + 1);
    mi_os_free(result->first, (result->arenas + 1) * sizeof *result->first);
    memset(result, 0, sizeof *result);
}
