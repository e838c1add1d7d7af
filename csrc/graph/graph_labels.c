/* graph_labels.c - looks for the word of a holder that a reference is by. */
#include "graph_labels.h"

#include <string.h>

#include "object_text.h"

enum { WORD = sizeof(uintptr_t), TAGS = 3 };

/* What is looked for, and what was found. */
typedef struct query {
    mi_reader *reader;
    uintptr_t wanted, frame; /* the frame that it was found in */
    int found;
    unsigned role;
    uint64_t detail;
} query;

static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

static void seen(void *context, uintptr_t to, unsigned role, uint64_t detail) {
    query *query = context;
    if (query->found || to != query->wanted) return;
    query->found = 1;
    query->role = role & ~(unsigned)MI_ROLE_BORROWED;
    query->detail = detail;
}

static void frame_seen(void *context, uintptr_t thread, uintptr_t frame) {
    query *query = context;
    (void)thread;
    if (query->found) return;
    mi_references_of_frame(query->reader, frame);
    if (query->found) query->frame = frame;
}

/* The type of the object at an address that is proven readable, -1: none that is known. */
static int type_now(const mi_labels *labels, uintptr_t address) {
    const mi_layout *layout = labels->reader->layout;
    if (address % WORD || !mi_reader_covers(labels->reader, address, (size_t)layout->object_size)) return -1;
    return mi_types_find(labels->types, word_at(address, layout->object_type));
}

/* ---- names ----------------------------------------------------------------------------------------------------------- */

static int is_of_type(const mi_labels *labels, uintptr_t address, uintptr_t type) {
    const mi_layout *layout = labels->reader->layout;
    return mi_address_index_find(&labels->graph->index, address) >= 0 &&
           mi_reader_covers(labels->reader, address, (size_t)layout->object_size) &&
           word_at(address, layout->object_type) == type;
}

static int put_str(const mi_labels *labels, uintptr_t address, char *to) {
    return is_of_type(labels, address, labels->str) &&
           mi_str_text(labels->reader->target, labels->reader->layout, address, MI_LABEL_CHARACTERS, to, MI_LABEL_TEXT);
}

/* A key: a str or an int. */
static void put_key(const mi_labels *labels, uintptr_t address, mi_label *to) {
    if (put_str(labels, address, to->text))
        to->kind = MI_LABEL_TEXT_OF;
    else if (is_of_type(labels, address, labels->integer) &&
             mi_int_number(labels->reader->target, labels->reader->layout, address, &to->number))
        to->kind = MI_LABEL_NUMBER;
}

/* A C string of the target's, as far as it goes or is readable. */
static void put_c_text(const mi_labels *labels, uintptr_t address, mi_label *to) {
    enum { PART = 16 };
    size_t used = 0;
    while (used < MI_LABEL_CHARACTERS) {
        size_t size = PART - (address + used) % PART;
        if (mi_target_read(labels->reader->target, address + used, to->text + used, size)) return;
        to->kind = MI_LABEL_TEXT_OF;
        if (memchr(to->text + used, 0, size)) return;
        used += size;
    }
    to->text[used] = 0;
}

static uintptr_t code_of(const mi_labels *labels, uintptr_t frame) {
    const mi_layout *layout = labels->reader->layout;
    if (frame % WORD || !mi_reader_covers(labels->reader, frame, (size_t)layout->iframe_slots)) return 0;
    uintptr_t code = word_at(frame, layout->iframe_code);
    if (layout->frame_locals != MI_ABSENT) code &= ~(uintptr_t)TAGS;
    int type = type_now(labels, code);
    return type >= 0 && labels->types->items[type].kind == MI_KIND_CODE &&
                   mi_reader_covers(labels->reader, code, labels->types->items[type].basicsize)
               ? code
               : 0;
}

static void put_local(const mi_labels *labels, uintptr_t frame, uint64_t index, mi_label *to) {
    const mi_layout *layout = labels->reader->layout;
    uintptr_t code = code_of(labels, frame), names = code ? word_at(code, layout->code_local_names) : 0;
    if (!code || !is_of_type(labels, names, labels->tuple)) return;
    uintptr_t name = names + (uintptr_t)layout->tuple_items + index * WORD;
    if (index >= (uint64_t)word_at(names, layout->object_var_size) || !mi_reader_covers(labels->reader, name, WORD))
        return;
    if (put_str(labels, word_at(name, 0), to->text)) to->kind = MI_LABEL_TEXT_OF;
}

static void put_name(const mi_labels *labels, const query *query, mi_label *to) {
    to->role = (uint8_t)query->role;
    switch ((mi_role)query->role) {
    case MI_ROLE_VALUE:
    case MI_ROLE_ATTRIBUTE: put_key(labels, (uintptr_t)query->detail, to); break;
    case MI_ROLE_FIELD: put_c_text(labels, (uintptr_t)query->detail, to); break;
    case MI_ROLE_LOCAL:
        if (query->frame) put_local(labels, query->frame, query->detail, to);
        break;
    case MI_ROLE_TYPE: break;
    default: to->kind = MI_LABEL_NUMBER; to->number = (int64_t)query->detail;
    }
    uintptr_t code = query->frame ? code_of(labels, query->frame) : 0;
    to->has_frame = code && put_str(labels, word_at(code, labels->reader->layout->code_qualname), to->frame);
}

/* ---- one reference, and ways of them ----------------------------------------------------------------------------------- */

static void modules_of(void *context, uintptr_t address, int interpreter) {
    query *query = context;
    if (interpreter) mi_graph_tell_modules(query->reader, address);
}

/* Of what the interpreters' structures hold, the modules of each are told. */
static void ask_root(const mi_labels *labels, mi_root root, mi_still still, query *query) {
    uintptr_t interpreter = labels->interpreter;
    if (root == MI_ROOT_MODULES) mi_graph_tell_modules(labels->reader, interpreter);
    if (root == MI_ROOT_FRAMES) mi_graph_frames(labels->reader, labels->runtime, interpreter, still, frame_seen, query);
    if (root == MI_ROOT_STATE) mi_graph_each_thread(labels->runtime, interpreter, still, modules_of, query);
}

static void begin(const mi_labels *labels, query *query, uintptr_t wanted) {
    memset(query, 0, sizeof *query);
    query->reader = labels->reader;
    query->wanted = wanted;
    labels->reader->visit = seen;
    labels->reader->context = query;
}

/* `holder` is a root, or an object that is known to be alive. */
static void label_of(const mi_labels *labels, uint32_t holder, uint32_t node, mi_label *to) {
    const mi_graph *graph = labels->graph;
    const mi_layout *layout = labels->reader->layout;
    query query;
    begin(labels, &query, mi_address_index_address(&graph->index, node));
    if (holder >= graph->objects) {
        ask_root(labels, (mi_root)(holder - graph->objects), labels->still, &query);
    } else {
        uintptr_t address = mi_address_index_address(&graph->index, holder);
        const mi_type *type = &labels->types->items[graph->types[holder]];
        if (!mi_reader_covers(labels->reader, address - type->preheader, type->preheader + type->basicsize)) return;
        uint8_t rule = labels->shapes->items[graph->types[holder]].rule;
        if (rule == MI_RULE_GENERATOR) query.frame = address + (uintptr_t)layout->generator_frame;
        if (rule == MI_RULE_FRAME) query.frame = word_at(address, layout->frame_frame);
        mi_references_of(labels->reader, address, (int)graph->types[holder]);
    }
    if (query.found) put_name(labels, &query, to);
}

/* Whether an object of the type that was there is there now. */
static int is_as_recorded(const mi_labels *labels, uint32_t node) {
    return type_now(labels, mi_address_index_address(&labels->graph->index, node)) == (int)labels->graph->types[node];
}

void mi_labels_of_path(const mi_labels *labels, const uint32_t *path, size_t length, int trusted, mi_label *found) {
    memset(found, 0, length * sizeof *found);
    for (size_t i = 0; i < length; i++) found[i].role = MI_ROLES;
    if (length && !trusted && path[0] < labels->graph->objects) return; /* cut in front: nothing leads to its first */
    for (size_t i = 1; i < length; i++) {
        label_of(labels, path[i - 1], path[i], &found[i]);
        if (trusted || (found[i].role != MI_ROLES && is_as_recorded(labels, path[i]))) continue;
        found[i].role = MI_ROLES;
        break;
    }
    labels->reader->context = NULL;
}

uintptr_t mi_labels_reach(const mi_labels *labels, mi_root root, const uintptr_t *addresses, size_t count) {
    uintptr_t before = 0;
    int type = -1;
    for (size_t i = 0; i < count; i++) {
        query query;
        begin(labels, &query, addresses[i]);
        if (i)
            mi_references_of(labels->reader, before, type);
        else
            ask_root(labels, root, MI_STILL_OWN, &query); /* an object of another interpreter is for no one here */
        type = query.found && query.role != MI_ROLE_GUESS ? type_now(labels, addresses[i]) : -1;
        before = type < 0 ? 0 : addresses[i];
        if (!before) break;
    }
    labels->reader->context = NULL;
    return before;
}
