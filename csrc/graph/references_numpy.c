/* references_numpy.c - what numpy's arrays refer to: their base and dtype, and the objects that lie in data of their own.
 *
 * A view has no data of its own: it refers to its base, which tells the objects. Where in an element objects lie, its
 * dtype says: it is `object`, or has fields and subarrays of such. numpy 1 and 2 differ in the dtype's structure, which its
 * size tells. */
#include <string.h>

#include "references.h"

/* Places are behind a header of 16 bytes: that of builds without a GIL is longer. */
enum { HEADER = 16, WORD = sizeof(uintptr_t), OWNS_DATA = 4, MOST_DIMENSIONS = 64, MOST_PLACES = 4096, DEEPEST = 16 };

static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

static int32_t int_at(uintptr_t address, int32_t offset) {
    int32_t number;
    memcpy(&number, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof number);
    return number;
}

static void tell(mi_reader *reader, uintptr_t to, unsigned role, uint64_t detail) {
    if (to) reader->visit(reader->context, to, role, detail);
}

static void tell_field(mi_reader *reader, uintptr_t object, int32_t offset, const char *name) {
    tell(reader, word_at(object, offset), MI_ROLE_FIELD, (uint64_t)(uintptr_t)name);
}

/* The kind and size of a known object at `address`, or -1. */
static int kind_of(mi_reader *reader, uintptr_t address, uint32_t *size) {
    const mi_layout *layout = reader->layout;
    if (!address || address % WORD || !mi_reader_covers(reader, address, (size_t)layout->object_size)) return -1;
    int type = mi_types_find(reader->types, word_at(address, layout->object_type));
    if (type < 0 || !mi_reader_covers(reader, address, reader->types->items[type].basicsize)) return -1;
    *size = reader->types->items[type].whole;
    return reader->types->items[type].kind;
}

/* ---- dtypes ---------------------------------------------------------------------------------------------------------- */

/* PyArray_Descr of numpy/ndarraytypes.h, of numpy 1 and (_PyArray_LegacyDescr) 2. */
typedef struct description {
    int32_t number;
    uint64_t size;
    uintptr_t subarray, fields;
} description;

static int read_description(mi_reader *reader, uintptr_t address, description *to) {
    enum { NUMBER = 28, SIZE_1 = 32, SUBARRAY_1 = 40, FIELDS_1 = 48, SIZE_2 = 40, SUBARRAY_2 = 88, FIELDS_2 = 96 };
    enum { WHOLE_1 = 96, HEAD_2 = 88, WHOLE_2 = 120, FIRST_OF_USERS = 256 };
    const uint32_t more = (uint32_t)reader->layout->object_size - HEADER;
    uint32_t whole;
    if (kind_of(reader, address, &whole) != MI_KIND_NUMPY_PARTS || whole < HEAD_2 + more) return 0;
    address += more;
    whole -= more;
    *to = (description){.number = int_at(address, NUMBER)};
    if (whole == WHOLE_1) {
        to->size = (uint64_t)(uint32_t)int_at(address, SIZE_1);
        to->subarray = word_at(address, SUBARRAY_1);
        to->fields = word_at(address, FIELDS_1);
        return 1;
    }
    to->size = (uint64_t)word_at(address, SIZE_2);
    if (whole < WHOLE_2 || to->number < 0 || to->number >= FIRST_OF_USERS)
        return 1; /* no fields: a dtype of a new kind */
    to->subarray = word_at(address, SUBARRAY_2);
    to->fields = word_at(address, FIELDS_2);
    return 1;
}

/* Where in an element objects lie. */
typedef struct places {
    uint64_t items[MOST_PLACES];
    size_t count;
    int cut;
} places;

static void add(places *places, uint64_t offset) {
    if (places->count < MOST_PLACES)
        places->items[places->count++] = offset;
    else
        places->cut = 1;
}

static void find_places(mi_reader *reader, uintptr_t address, uint64_t offset, int depth, places *places);

/* An entry of a dtype's fields: (dtype, offset) or (dtype, offset, title). */
static void find_in_field(mi_reader *reader, uintptr_t tuple, uint64_t offset, int depth, places *places) {
    const mi_layout *layout = reader->layout;
    if (!tuple || tuple % WORD || !mi_reader_covers(reader, tuple, (size_t)layout->tuple_items + 2 * WORD)) return;
    if ((int64_t)word_at(tuple, layout->object_var_size) < 2) return;
    uintptr_t part = word_at(tuple, layout->tuple_items), number = word_at(tuple, layout->tuple_items + WORD);
    uint32_t size;
    if (kind_of(reader, number, &size) != MI_KIND_INT ||
        !mi_reader_covers(reader, number, (size_t)layout->long_digits + sizeof(int32_t)))
        return;
    uint64_t digits = (uint64_t)word_at(number, layout->object_var_size); /* 0, or one digit of 30 bits */
    if (layout->long_tag != MI_ABSENT) digits = (uint64_t)word_at(number, layout->long_tag) >> layout->long_tag_shift;
    if (digits > 1) return;
    find_places(reader, part, offset + (digits ? (uint32_t)int_at(number, layout->long_digits) : 0), depth, places);
}

/* PyArray_ArrayDescr: the dtype of the items; how many there are follows from the sizes. */
static void find_in_subarray(mi_reader *reader, const description *whole, uint64_t offset, int depth, places *places) {
    description item;
    if (whole->subarray % WORD || !mi_reader_covers(reader, whole->subarray, WORD)) return;
    uintptr_t part = word_at(whole->subarray, 0);
    if (!read_description(reader, part, &item) || !item.size) return;
    for (uint64_t at = 0; at + item.size <= whole->size && !places->cut; at += item.size)
        find_places(reader, part, offset + at, depth, places);
}

static void find_places(mi_reader *reader, uintptr_t address, uint64_t offset, int depth, places *places) {
    enum { OF_OBJECTS = 17 };
    description known;
    if (depth > DEEPEST || places->cut || !read_description(reader, address, &known)) return;
    if (known.number == OF_OBJECTS) {
        add(places, offset);
        return;
    }
    if (known.subarray) find_in_subarray(reader, &known, offset, depth + 1, places);
    uintptr_t entries;
    uint64_t count;
    unsigned entry_size;
    if (!known.fields || !mi_reader_dict_entries(reader, known.fields, &entries, &count, &entry_size)) return;
    uintptr_t last = 0, field;
    for (uint64_t i = 0; i < count; i++, last = field) { /* a field has a second entry under its title */
        field = word_at(entries + (i + 1) * entry_size - WORD, 0);
        if (field != last) find_in_field(reader, field, offset, depth + 1, places);
    }
}

/* ---- arrays ---------------------------------------------------------------------------------------------------------- */

/* The objects in `count` elements that lie one behind the other: an array that owns its data has all of them so. */
static void tell_elements(mi_reader *reader, uintptr_t data, uint64_t count, uintptr_t dtype) {
    description known;
    places places;
    uint64_t bytes;
    places.count = 0;
    places.cut = 0;
    if (!read_description(reader, dtype, &known) || !known.size) return;
    find_places(reader, dtype, 0, 0, &places);
    if (!places.count || __builtin_mul_overflow(count, known.size, &bytes)) return;
    if (!mi_reader_covers(reader, data, (size_t)bytes)) return;
    for (uint64_t i = 0; i < count; i++)
        for (size_t j = 0; j < places.count; j++)
            if (places.items[j] + WORD <= known.size)
                tell(reader, word_at(data + i * known.size + places.items[j], 0), MI_ROLE_ITEM, i);
}

/* PyArrayObject_fields, numpy/ndarraytypes.h. */
void mi_references_of_array(mi_reader *reader, uintptr_t object) {
    enum { DATA = 16, DIMENSIONS = 24, SHAPE = 32, BASE = 48, DESCRIPTION = 56, FLAGS = 64 };
    object += (uintptr_t)reader->layout->object_size - HEADER;
    uintptr_t shape = word_at(object, SHAPE);
    int32_t dimensions = int_at(object, DIMENSIONS);
    uint64_t count = 1;
    tell_field(reader, object, BASE, "base");
    tell_field(reader, object, DESCRIPTION, "dtype");
    if (!(int_at(object, FLAGS) & OWNS_DATA) || dimensions < 0 || dimensions > MOST_DIMENSIONS) return;
    if (dimensions && !mi_reader_covers(reader, shape, (size_t)dimensions * WORD)) return;
    for (int32_t i = 0; i < dimensions; i++)
        if (__builtin_mul_overflow(count, (uint64_t)word_at(shape, i * WORD), &count)) return;
    tell_elements(reader, word_at(object, DATA), count, word_at(object, DESCRIPTION));
}

/* PyVoidScalarObject, numpy/arrayscalars.h: an element that was taken out of an array refers to it, or is a copy. */
void mi_references_of_array_scalar(mi_reader *reader, uintptr_t object) {
    enum { VALUE = 24, DESCRIPTION = 32, FLAGS = 40, BASE = 48 };
    object += (uintptr_t)reader->layout->object_size - HEADER;
    tell_field(reader, object, BASE, "base");
    tell_field(reader, object, DESCRIPTION, "dtype");
    if (int_at(object, FLAGS) & OWNS_DATA && !word_at(object, BASE))
        tell_elements(reader, word_at(object, VALUE), 1, word_at(object, DESCRIPTION));
}
