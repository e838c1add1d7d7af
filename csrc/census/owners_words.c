/* owners_words.c - structures of extension modules that are read word by word: what a word of one leads to and no type
 * explains belongs to it.
 *
 * That is said only of types whose source was read: each word of theirs is an object, a number, or memory of their own. */
#include "owners_parts.h"

/* `depth`: how many blocks deep what belongs to it holds more of it; `most`: of so many bytes of such a block. */
static const struct {
    uint16_t kind, owner, depth, most;
} rules[] = {
    {MI_KIND_EXPAT, MI_OWNER_EXPAT, 24, 8192},    /* XML_ParserStruct, its tables and pools, Modules/expat/xmlparse.c */
    {MI_KIND_XML_PARTS, MI_OWNER_XML, 0, 0},      /* the stacks of Modules/_elementtree.c */
    {MI_KIND_PICKLE, MI_OWNER_PICKLE, 1, 32},     /* PyMemoTable, memo, marks, Modules/_pickle.c */
    {MI_KIND_ZONE, MI_OWNER_ZONE, 0, 0},          /* PyZoneInfo_ZoneInfo, Modules/_zoneinfo.c */
    {MI_KIND_SRE, MI_OWNER_SRE, 0, 0},            /* marks and data stack of SRE_STATE, Modules/_sre/sre.h */
    {MI_KIND_QUEUE, MI_OWNER_QUEUE, 0, 0},        /* RingBuf.items, Modules/_queuemodule.c */
    {MI_KIND_FILE, MI_OWNER_FILE, 0, 0},          /* fileio.stat_atopen, Modules/_io/fileio.c */
    {MI_KIND_CSV, MI_OWNER_CSV, 0, 0},            /* ReaderObj.field, WriterObj.rec, Modules/_csv.c */
    {MI_KIND_STRINGIO, MI_OWNER_IO_BUFFER, 0, 0}, /* stringio.writer, Modules/_io/stringio.c, a block from 3.14 on */
    {MI_KIND_METHODCALLER, MI_OWNER_METHODCALLER, 0, 0}, /* vectorcall_args, Modules/_operator.c */
    {MI_KIND_UFUNC, MI_OWNER_NUMPY, 1, 32},              /* names, loops, and the table of what was resolved before */
    {MI_KIND_NUMPY_PARTS, MI_OWNER_NUMPY, 3, 4096},      /* NpyIter and its buffers, NpyAuxData, numpy's *_impl.h */
};

/* Claims what a word leads to; where that begins, or 0. expat puts the size that was asked for before each piece of its
 * memory, in 8 or 16 bytes (expat_malloc of xmlparse.c from 2.7.2 on, and where distributions took that over), so its words
 * point behind the start of their block. That is believed where the size is the block's but for its rounding. */
static uintptr_t claim_word_of(const mi_owner_context *context, uintptr_t word, mi_owner owner) {
    enum { ROUNDING = 32 };
    if (context->claim_plain(context->claims, word, owner)) return word;
    for (uintptr_t head = 8; owner == MI_OWNER_EXPAT && head <= 16 && word > head; head += 8) {
        uintptr_t start = word - head, asked;
        size_t room = start % 16 ? 0 : context->heap_room(context->claims, start);
        if (room < head || !context->heap_word(context->claims, start, &asked)) continue;
        if (asked > room - head || room - head - asked >= ROUNDING) continue;
        if (context->claim_plain(context->claims, start, owner)) return start;
    }
    return 0;
}

/* The words of a block, and of the blocks that are claimed by that. */
static void claim_block(const mi_owner_context *context, uintptr_t block, mi_owner owner, int depth, size_t most) {
    size_t room = context->heap_room(context->claims, block);
    for (size_t at = 0; at + sizeof(uintptr_t) <= room && at < most; at += sizeof(uintptr_t)) {
        uintptr_t word;
        if (!context->heap_word(context->claims, block + at, &word)) return;
        uintptr_t start = claim_word_of(context, word, owner);
        if (start && depth) claim_block(context, start, owner, depth - 1, most);
    }
}

void mi_owner_claim_words(const mi_owner_context *context, uintptr_t object, size_t from, size_t to, mi_owner owner,
                          int depth, size_t most) {
    for (size_t at = from; at + sizeof(uintptr_t) <= to; at += sizeof(uintptr_t)) {
        uintptr_t start = claim_word_of(context, mi_owner_word(object, (int32_t)at), owner);
        if (start && depth) claim_block(context, start, owner, depth - 1, most);
    }
}

void mi_owner_claim_opaque(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].kind == type->kind)
            mi_owner_claim_words(context, object, (size_t)context->layout->object_size, type->basicsize,
                                 (mi_owner)rules[i].owner, rules[i].depth, rules[i].most);
}
