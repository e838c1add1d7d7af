/* cfi_program.c - see cfi_program.h: reading an entry of .eh_frame, and running its program. */
#include "cfi_program.h"

#include <string.h>

#include "cfi_expression.h"

enum { REMEMBERED_MOST = 8 };

/* ---- what both kinds of entries are read by ---------------------------------------------------------------------------- */

/* Reads an entry whole; its length word is not part of `reader`. */
static mi_error load(uintptr_t at, uint8_t *bytes, mi_cfi_reader *reader) {
    uint32_t length;
    if (mi_os_read(0, at, &length, sizeof length)) return MI_E_ABSENT;
    if (length < 8 || length > MI_CFI_ENTRY_MOST)
        return MI_E_LAYOUT; /* 0xFFFFFFFF: one of 64 bits, which nobody writes */
    if (mi_os_read(0, at + sizeof length, bytes, length)) return MI_E_ABSENT;
    *reader = (mi_cfi_reader){.at = bytes, .end = bytes + length, .address = at + sizeof length};
    return MI_OK;
}

/* A pointer as DW_EH_PE_* encodes it; what is not needed for code's addresses is refused. */
static uint64_t read_pointer(mi_cfi_reader *from, uint8_t encoding, int is_length) {
    uint64_t here = from->address, value;
    switch (encoding & 0x0F) {
    case 0x00:
    case 0x04:
    case 0x0C: value = mi_cfi_fixed(from, 8, 0); break;
    case 0x02: value = mi_cfi_fixed(from, 2, 0); break;
    case 0x0A: value = mi_cfi_fixed(from, 2, 1); break;
    case 0x03: value = mi_cfi_fixed(from, 4, 0); break;
    case 0x0B: value = mi_cfi_fixed(from, 4, 1); break;
    default: from->bad = 1; return 0;
    }
    if (is_length) return value;
    if ((encoding & 0x70) == 0x10) return here + value;
    if (encoding & 0x70) from->bad = 1;
    return value;
}

/* ---- the common part (CIE) ---------------------------------------------------------------------------------------------- */

typedef struct common {
    uint64_t code_unit;
    int64_t data_unit;
    uint8_t encoding;
    int augmented;
    mi_cfi_reader program;
} common;

static mi_error read_common(uintptr_t at, uint8_t *bytes, mi_cfi_rules *rules, common *to) {
    mi_cfi_reader from;
    mi_error error = load(at, bytes, &from);
    if (error) return error;
    uint64_t id = mi_cfi_fixed(&from, 4, 0), version = mi_cfi_fixed(&from, 1, 0);
    if (id || (version != 1 && version != 3)) return MI_E_LAYOUT;
    const uint8_t *letters = from.at;
    while (from.at < from.end && *from.at) mi_cfi_fixed(&from, 1, 0);
    mi_cfi_fixed(&from, 1, 0);
    to->code_unit = mi_cfi_unsigned(&from);
    to->data_unit = mi_cfi_signed(&from);
    uint64_t column = version == 1 ? mi_cfi_fixed(&from, 1, 0) : mi_cfi_unsigned(&from);
    if (from.bad || column >= MI_CFI_REGISTERS) return MI_E_LAYOUT;
    rules->return_column = (int)column;
    to->encoding = 0;
    to->augmented = *letters == 'z';
    if (!to->augmented) {
        if (*letters) return MI_E_LAYOUT;
    } else {
        uint64_t length = mi_cfi_unsigned(&from);
        mi_cfi_reader rest = from;
        for (letters++; *letters; letters++) {
            if (*letters == 'R') {
                to->encoding = (uint8_t)mi_cfi_fixed(&from, 1, 0);
            } else if (*letters == 'L') {
                mi_cfi_fixed(&from, 1, 0);
            } else if (*letters == 'P') { /* a C++ personality: only its length matters */
                uint8_t encoding = (uint8_t)mi_cfi_fixed(&from, 1, 0);
                read_pointer(&from, encoding, 1);
            } else if (*letters == 'S') {
                rules->signal = 1;
            } else if (*letters != 'B') { /* aarch64: which key signs */
                return MI_E_LAYOUT;
            }
        }
        if (from.bad) return MI_E_LAYOUT;
        mi_cfi_skip(&rest, length);
        from = rest;
    }
    to->program = from;
    return from.bad ? MI_E_LAYOUT : MI_OK;
}

/* ---- the program --------------------------------------------------------------------------------------------------------- */

typedef struct machine {
    const common *common;
    mi_cfi_rules *rules;
    const mi_cfi_rules *initial; /* NULL: these are being made */
    mi_cfi_rules remembered[REMEMBERED_MOST];
    int depth;
    uintptr_t location, code;
} machine;

static void set(machine *run, mi_cfi_reader *from, uint64_t which, int kind, int64_t offset) {
    if (which < MI_CFI_REGISTERS)
        run->rules->of[which] = (mi_cfi_rule){.kind = kind, .offset = offset};
    else if (kind != MI_CFI_SAME && which >= 128)
        from->bad = 1; /* vector registers are below, and of no use here */
}

static void keep_expression(mi_cfi_reader *from, mi_cfi_rule *rule, int kind) {
    uint64_t size = mi_cfi_unsigned(from);
    const uint8_t *bytes = from->at;
    mi_cfi_skip(from, size);
    if (from->bad || size > MI_CFI_EXPRESSION_MOST) {
        from->bad = 1;
        return;
    }
    *rule = (mi_cfi_rule){.kind = kind, .size = (uint8_t)size};
    memcpy(rule->expression, bytes, size);
}

static void frame_is(machine *run, uint64_t which, int64_t offset) {
    run->rules->frame = (mi_cfi_rule){.kind = MI_CFI_REGISTER, .offset = (int64_t)which};
    run->rules->frame_offset = offset;
}

static void restore(machine *run, mi_cfi_reader *from, uint64_t which) {
    if (!run->initial)
        from->bad = 1;
    else if (which < MI_CFI_REGISTERS)
        run->rules->of[which] = run->initial->of[which];
}

/* A factored offset in bytes; what a table that is not one says may run over. */
static int64_t scaled(const machine *run, uint64_t factor) {
    return (int64_t)(factor * (uint64_t)run->common->data_unit);
}

/* DW_CFA_*, by DWARF 5's table 7.29 and GNU's additions. */
static void instruction(machine *run, mi_cfi_reader *from, uint8_t code) {
    uint64_t which;
    switch (code) {
    case 0x00: break;
    case 0x01: run->location = read_pointer(from, run->common->encoding, 0); break;
    case 0x02: run->location += mi_cfi_fixed(from, 1, 0) * run->common->code_unit; break;
    case 0x03: run->location += mi_cfi_fixed(from, 2, 0) * run->common->code_unit; break;
    case 0x04: run->location += mi_cfi_fixed(from, 4, 0) * run->common->code_unit; break;
    case 0x05:
        which = mi_cfi_unsigned(from);
        set(run, from, which, MI_CFI_OFFSET, scaled(run, mi_cfi_unsigned(from)));
        break;
    case 0x06: restore(run, from, mi_cfi_unsigned(from)); break;
    case 0x07: set(run, from, mi_cfi_unsigned(from), MI_CFI_UNDEFINED, 0); break;
    case 0x08: set(run, from, mi_cfi_unsigned(from), MI_CFI_SAME, 0); break;
    case 0x09:
        which = mi_cfi_unsigned(from);
        set(run, from, which, MI_CFI_REGISTER, (int64_t)mi_cfi_unsigned(from));
        break;
    case 0x0A:
        if (run->depth == REMEMBERED_MOST)
            from->bad = 1;
        else
            run->remembered[run->depth++] = *run->rules;
        break;
    case 0x0B:
        if (!run->depth)
            from->bad = 1;
        else
            *run->rules = run->remembered[--run->depth];
        break;
    case 0x0C:
        which = mi_cfi_unsigned(from);
        frame_is(run, which, (int64_t)mi_cfi_unsigned(from));
        break;
    case 0x0D: frame_is(run, mi_cfi_unsigned(from), run->rules->frame_offset); break;
    case 0x0E: run->rules->frame_offset = (int64_t)mi_cfi_unsigned(from); break;
    case 0x0F: keep_expression(from, &run->rules->frame, MI_CFI_VALUE_EXPRESSION); break;
    case 0x10:
    case 0x16: {
        mi_cfi_rule unused;
        which = mi_cfi_unsigned(from);
        keep_expression(from, which < MI_CFI_REGISTERS ? &run->rules->of[which] : &unused,
                        code == 0x10 ? MI_CFI_EXPRESSION : MI_CFI_VALUE_EXPRESSION);
        break;
    }
    case 0x11:
        which = mi_cfi_unsigned(from);
        set(run, from, which, MI_CFI_OFFSET, scaled(run, (uint64_t)mi_cfi_signed(from)));
        break;
    case 0x12:
        which = mi_cfi_unsigned(from);
        frame_is(run, which, scaled(run, (uint64_t)mi_cfi_signed(from)));
        break;
    case 0x13: run->rules->frame_offset = scaled(run, (uint64_t)mi_cfi_signed(from)); break;
    case 0x14:
        which = mi_cfi_unsigned(from);
        set(run, from, which, MI_CFI_VALUE, scaled(run, mi_cfi_unsigned(from)));
        break;
    case 0x15:
        which = mi_cfi_unsigned(from);
        set(run, from, which, MI_CFI_VALUE, scaled(run, (uint64_t)mi_cfi_signed(from)));
        break;
#if defined(__aarch64__)
    case 0x2D: break; /* DW_CFA_AARCH64_negate_ra_state: the return address is signed, or is not */
#endif
    case 0x2E: mi_cfi_unsigned(from); break; /* DW_CFA_GNU_args_size */
    default: from->bad = 1;
    }
}

/* Up to the first row that begins behind the address asked for. */
static mi_error run_program(machine *run, mi_cfi_reader from) {
    while (from.at < from.end && !from.bad && run->location <= run->code) {
        uint8_t code = (uint8_t)mi_cfi_fixed(&from, 1, 0), low = code & 0x3F;
        switch (code >> 6) {
        case 1: run->location += low * run->common->code_unit; break;
        case 2: set(run, &from, low, MI_CFI_OFFSET, scaled(run, mi_cfi_unsigned(&from))); break;
        case 3: restore(run, &from, low); break;
        default: instruction(run, &from, code);
        }
    }
    return from.bad ? MI_E_LAYOUT : MI_OK;
}

/* ---- an entry ------------------------------------------------------------------------------------------------------------ */

typedef struct room {
    uint8_t entry[MI_CFI_ENTRY_MOST], common[MI_CFI_ENTRY_MOST];
    machine run;
    mi_cfi_rules initial;
} room;

static mi_error rules_in(room *room, uintptr_t entry, uintptr_t code, mi_cfi_rules *rules) {
    mi_cfi_reader from;
    common common = {0};
    mi_error error = load(entry, room->entry, &from);
    if (error) return error;
    uintptr_t place = from.address;
    uint64_t back = mi_cfi_fixed(&from, 4, 0);
    if (!back) return MI_E_LAYOUT;
    error = read_common(place - back, room->common, rules, &common);
    if (error) return error;
    uint64_t begin = read_pointer(&from, common.encoding, 0), length = read_pointer(&from, common.encoding, 1);
    if (common.augmented) {
        uint64_t size = mi_cfi_unsigned(&from);
        mi_cfi_skip(&from, size);
    }
    if (from.bad) return MI_E_LAYOUT;
    if (code < begin || code - begin >= length) return MI_E_ABSENT;
    room->run = (machine){.common = &common, .rules = rules, .location = begin, .code = code};
    error = run_program(&room->run, common.program);
    if (error) return error;
    room->initial = *rules;
    room->run.initial = &room->initial;
    room->run.location = begin;
    return run_program(&room->run, from);
}

mi_error mi_cfi_rules_at(uintptr_t entry, uintptr_t code, mi_cfi_rules *rules) {
    memset(rules, 0, sizeof *rules);
    room *room = mi_os_alloc(sizeof *room);
    if (!room) return MI_E_MEMORY;
    mi_error error = rules_in(room, entry, code, rules);
    mi_os_free(room, sizeof *room);
    return error;
}
