/* cfi.c - see cfi.h: finding the entry of a function, and making the caller's frame by it. cfi_program.c runs it. */
#include "cfi.h"

#include <string.h>

#include "cfi_program.h"

#ifdef __linux__
#include <elf.h>

enum { SEGMENTS_MOST = 64 };

/* ---- where an object's table is ---------------------------------------------------------------------------------------- */

/* The mapping that begins with the object's ELF header. */
static const mi_mapping *first_of(const mi_maps *maps, const mi_mapping *of) {
    if (!of->offset) return of;
    for (const mi_mapping *at = of; at-- > maps->items;)
        if (mi_mapping_same_file(at, of) && !at->offset) return at;
    return NULL;
}

static mi_error find_header(const mi_maps *maps, uintptr_t code, uintptr_t *table) {
    const mi_mapping *mapping = mi_os_maps_find(maps, code);
    const mi_mapping *first = mapping && mapping->flags & MI_MAP_EXEC ? first_of(maps, mapping) : NULL;
    Elf64_Ehdr head;
    Elf64_Phdr segments[SEGMENTS_MOST];
    if (!first || !first->name[0] || mi_os_read(0, first->start, &head, sizeof head)) return MI_E_ABSENT;
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_ident[EI_CLASS] != ELFCLASS64) return MI_E_ABSENT;
    if (!head.e_phnum || head.e_phnum > SEGMENTS_MOST || head.e_phentsize != sizeof *segments) return MI_E_ABSENT;
    if (mi_os_read(0, first->start + head.e_phoff, segments, head.e_phnum * sizeof *segments)) return MI_E_ABSENT;
    const Elf64_Phdr *begins = NULL, *frames = NULL;
    for (int at = 0; at < head.e_phnum; at++) {
        if (segments[at].p_type == PT_LOAD && !segments[at].p_offset) begins = &segments[at];
        if (segments[at].p_type == PT_GNU_EH_FRAME) frames = &segments[at];
    }
    if (!begins || !frames) return MI_E_ABSENT;
    *table = first->start - begins->p_vaddr + frames->p_vaddr;
    return MI_OK;
}

/* ---- .eh_frame_hdr: the functions in ascending order ------------------------------------------------------------------ */

typedef struct header {
    uint8_t version, frames_encoding, count_encoding, table_encoding;
    int32_t frames;
    uint32_t count;
} header;
typedef struct table_row {
    int32_t function, entry; /* both from the header's address on */
} table_row;

static mi_error find_entry(uintptr_t table, uintptr_t code, uintptr_t *entry) {
    header head;
    table_row row;
    if (mi_os_read(0, table, &head, sizeof head)) return MI_E_ABSENT;
    /* what linkers write: DW_EH_PE_pcrel | sdata4, udata4, and datarel | sdata4 */
    if (head.version != 1 || head.frames_encoding != 0x1B || head.count_encoding != 0x03 ||
        head.table_encoding != 0x3B || !head.count)
        return MI_E_ABSENT;
    uint32_t low = 0, high = head.count; /* the last row whose function does not begin behind `code` */
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (mi_os_read(0, table + sizeof head + middle * sizeof row, &row, sizeof row)) return MI_E_ABSENT;
        if (table + (uintptr_t)(intptr_t)row.function <= code)
            low = middle;
        else
            high = middle;
    }
    if (mi_os_read(0, table + sizeof head + low * sizeof row, &row, sizeof row)) return MI_E_ABSENT;
    *entry = table + (uintptr_t)(intptr_t)row.entry;
    return MI_OK;
}

/* ---- the caller ------------------------------------------------------------------------------------------------------- */

/* Registers that a function gives back as they were (System V ABI for x86-64, 3.2.1; AAPCS64, 6.1.1). */
static int is_kept(int which, const mi_frame *frame) {
#if defined(__aarch64__)
    if (which == 30) return frame->interrupted; /* where a function that calls nobody goes on */
    return which >= 19 && which <= 29;
#else
    (void)frame;
    return which == 3 || which == 6 || (which >= 12 && which <= 15);
#endif
}

/* A caller's frame lies farther up the stack; only a signal's handler may have a stack of its own. */
static int is_farther_up(const mi_frame *frame, uint64_t address) {
#if defined(__aarch64__)
    if (frame->interrupted && address == frame->value[MI_CFI_STACK]) return 1; /* nothing was put there yet */
#endif
    return address > frame->value[MI_CFI_STACK];
}

mi_error mi_cfi_caller(const mi_maps *maps, const mi_stack_copy *stack, mi_frame *frame) {
    uintptr_t table, entry;
    uintptr_t code = (uintptr_t)frame->value[MI_CFI_PC] - !frame->interrupted; /* in the call, not behind it */
    mi_cfi_rules rules;
    mi_frame made = {.known = 0};
    uint64_t frame_address, value;
    mi_error error = find_header(maps, code, &table);
    if (!error) error = find_entry(table, code, &entry);
    if (!error) error = mi_cfi_rules_at(entry, code, &rules);
    if (error) return error;
    if (rules.of[rules.return_column].kind == MI_CFI_UNDEFINED) return MI_E_LIMIT;
    if (mi_cfi_frame_address(&rules, frame, stack, &frame_address)) return MI_E_ABSENT;
    if (!rules.signal && !is_farther_up(frame, frame_address)) return MI_E_ABSENT;
    for (int which = 0; which < MI_CFI_REGISTERS; which++) {
        const mi_cfi_rule *rule = &rules.of[which];
        if (rule->kind == MI_CFI_SAME || (rule->kind == MI_CFI_NOT_SAID && is_kept(which, frame))) {
            if (mi_frame_knows(frame, which)) mi_frame_set(&made, which, frame->value[which]);
        } else if (!mi_cfi_value(rule, frame, stack, frame_address, &value)) {
            mi_frame_set(&made, which, value);
        }
    }
    if (rules.of[MI_CFI_STACK].kind == MI_CFI_NOT_SAID) mi_frame_set(&made, MI_CFI_STACK, frame_address);
    if (!mi_frame_knows(&made, rules.return_column) || !mi_frame_knows(&made, MI_CFI_STACK)) return MI_E_ABSENT;
    value = made.value[rules.return_column];
#if defined(__aarch64__)
    value &= (1ull << 48) - 1; /* a signed return address (PAC) has its signature above */
#endif
    mi_frame_set(&made, MI_CFI_PC, value);
    made.interrupted = rules.signal;
    *frame = made;
    return value ? MI_OK : MI_E_LIMIT;
}
#else
mi_error mi_cfi_caller(const mi_maps *maps, const mi_stack_copy *stack, mi_frame *frame) {
    (void)maps, (void)stack, (void)frame;
    return MI_E_ABSENT;
}
#endif
