/* relocations.c - see relocations.h: the dynamic section's tables of one object, and writing to their slots. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "relocations.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>

#include "os.h"

/* Which relocations fill in a slot with the address of a function: the processor supplements of the ELF ABI. */
typedef struct machine {
    uint16_t machine;
    uint32_t jump_slot, glob_dat;
} machine;

static const machine machines[] = {
    {EM_X86_64, R_X86_64_JUMP_SLOT, R_X86_64_GLOB_DAT},
    {EM_AARCH64, R_AARCH64_JUMP_SLOT, R_AARCH64_GLOB_DAT}, /* read in the ABI's text, never run */
};

#if defined(__x86_64__)
enum { THIS_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { THIS_MACHINE = EM_AARCH64 };
#else
enum { THIS_MACHINE = EM_NONE };
#endif

static const machine *this_machine(void) {
    for (size_t at = 0; at < sizeof machines / sizeof *machines; at++)
        if (machines[at].machine == THIS_MACHINE && sizeof(void *) == 8) return &machines[at];
    return NULL;
}

/* ---- finding --------------------------------------------------------------------------------------------------------- */

typedef struct table {
    const ElfW(Rela) * items;
    size_t size; /* bytes */
} table;

typedef struct search {
    mi_relocations *set;
    uintptr_t inside;
    const machine *machine;
    mi_error error;
} search;

static void add_slot(mi_relocations *set, const char *symbol, uintptr_t address, search *search) {
    for (size_t hook = 0; hook < set->hook_count; hook++) {
        if (strcmp(set->hooks[hook].symbol, symbol)) continue;
        if (set->count == MI_SLOTS_MOST) {
            search->error = MI_E_LIMIT;
            return;
        }
        set->slots[set->count++] = (mi_slot){.address = (void **)address, .hook = (uint32_t)hook};
        set->hooks[hook].slots++;
    }
}

static int holds(const struct dl_phdr_info *info, uintptr_t address) {
    for (int at = 0; at < info->dlpi_phnum; at++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[at];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && address >= start && address - start < header->p_memsz) return 1;
    }
    return 0;
}

static int look_into(struct dl_phdr_info *info, size_t size, void *data) {
    (void)size;
    search *search = data;
    mi_relocations *set = search->set;
    const ElfW(Dyn) *entry = NULL;
    const ElfW(Sym) *symbols = NULL;
    const char *strings = NULL;
    table tables[2] = {{0}}; /* of the PLT, and all others */
    int rela = 1;
    if (!holds(info, search->inside)) return 0;
    for (int at = 0; at < info->dlpi_phnum; at++)
        if (info->dlpi_phdr[at].p_type == PT_DYNAMIC)
            entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[at].p_vaddr);
    for (; entry && entry->d_tag != DT_NULL; entry++) {
        /* glibc has added the load address to these in place, others leave them as in the file */
        uintptr_t address = entry->d_un.d_ptr + (entry->d_un.d_ptr < info->dlpi_addr ? info->dlpi_addr : 0);
        switch (entry->d_tag) {
        case DT_SYMTAB: symbols = (const void *)address; break;
        case DT_STRTAB: strings = (const void *)address; break;
        case DT_JMPREL: tables[0].items = (const void *)address; break;
        case DT_PLTRELSZ: tables[0].size = entry->d_un.d_val; break;
        case DT_PLTREL: rela = entry->d_un.d_val == DT_RELA; break;
        case DT_RELA: tables[1].items = (const void *)address; break;
        case DT_RELASZ: tables[1].size = entry->d_un.d_val; break;
        default: break;
        }
    }
    search->error = MI_E_ABSENT;
    if (!symbols || !strings || !rela) return 1;
    search->error = MI_OK;
    strncpy(set->object, info->dlpi_name, sizeof set->object - 1);
    for (size_t which = 0; which < 2; which++) {
        const ElfW(Rela) *items = tables[which].items;
        for (size_t at = 0; items && at < tables[which].size / sizeof *items; at++) {
            uint32_t kind = (uint32_t)ELF64_R_TYPE(items[at].r_info);
            if (kind != search->machine->jump_slot && kind != search->machine->glob_dat) continue;
            const ElfW(Sym) *symbol = &symbols[ELF64_R_SYM(items[at].r_info)];
            add_slot(set, strings + symbol->st_name, info->dlpi_addr + items[at].r_offset, search);
        }
    }
    return 1;
}

mi_error mi_relocations_find(mi_relocations *set, const void *inside, const mi_hook *hooks, size_t count) {
    memset(set, 0, sizeof *set);
    search search = {.set = set, .inside = (uintptr_t)inside, .machine = this_machine(), .error = MI_E_ABSENT};
    if (!search.machine || count > MI_HOOKS_MOST) return MI_E_ABSENT;
    for (size_t at = 0; at < count; at++) {
        set->hooks[at] = hooks[at];
        set->hooks[at].slots = 0;
        set->hooks[at].original = dlsym(RTLD_DEFAULT, hooks[at].symbol);
        if (!set->hooks[at].original) return MI_E_ABSENT;
    }
    set->hook_count = count;
    dl_iterate_phdr(look_into, &search);
    if (search.error) return search.error;
    for (size_t at = 0; at < set->count; at++)
        set->slots[at].lazy = *set->slots[at].address != set->hooks[set->slots[at].hook].original;
    return count && set->hooks[0].slots ? MI_OK : MI_E_ABSENT;
}

/* ---- writing ---------------------------------------------------------------------------------------------------------- */

static void *slot_page(const mi_slot *slot) {
    size_t size = mi_os_page_size();
    return (void *)((uintptr_t)slot->address / size * size);
}

static mi_error protect(const mi_slot *slot, int access) {
    if (mprotect(slot_page(slot), mi_os_page_size(), access) == 0) return MI_OK;
    /* a filter may answer with any errno; what else mprotect can say of a page that we have just seen is ENOMEM */
    return errno == ENOMEM ? MI_E_MEMORY : MI_E_PERMISSION;
}

/* Makes the pages of the slots writable as far as they are not, and goes on where one cannot be. Their protection is asked of the kernel each time: it is
 * not what the program headers say where a loader or a tool chose otherwise. */
static mi_error open_pages(mi_relocations *set, int *opened) {
    mi_maps maps;
    mi_error error = mi_os_maps(0, &maps);
    if (error) return error;
    for (size_t at = 0; at < set->count; at++) {
        mi_slot *slot = &set->slots[at];
        const mi_mapping *mapping = mi_os_maps_find(&maps, (uintptr_t)slot->address);
        mi_error failed = mapping ? MI_OK : MI_E_UNMAPPED;
        slot->read_only = !mapping || !(mapping->flags & MI_MAP_WRITE);
        if (mapping && slot->read_only) failed = protect(slot, PROT_READ | PROT_WRITE);
        opened[at] = slot->read_only && !failed;
        if (!error) error = failed;
    }
    mi_os_maps_free(&maps);
    return error;
}

/* A page that cannot be closed again stays writable: the program goes on as it would. */
static void close_pages(const mi_relocations *set, const int *opened) {
    for (size_t at = 0; at < set->count; at++)
        if (opened[at]) protect(&set->slots[at], PROT_READ);
}

static void *slot_read(const mi_slot *slot) { return __atomic_load_n(slot->address, __ATOMIC_ACQUIRE); }
static void slot_write(const mi_slot *slot, void *to) { __atomic_store_n(slot->address, to, __ATOMIC_RELEASE); }

mi_error mi_relocations_replace(mi_relocations *set) {
    int opened[MI_SLOTS_MOST] = {0};
    mi_error error = open_pages(set, opened);
    for (size_t at = 0; !error && at < set->count; at++) {
        mi_slot *slot = &set->slots[at];
        slot->before = slot_read(slot);
        slot_write(slot, set->hooks[slot->hook].replacement);
    }
    set->replaced = !error;
    close_pages(set, opened);
    return error;
}

size_t mi_relocations_strayed(mi_relocations *set, int again) {
    size_t strayed = 0;
    for (size_t at = 0; set->replaced && at < set->count; at++) {
        mi_slot *slot = &set->slots[at];
        const mi_hook *hook = &set->hooks[slot->hook];
        void *holds_now = slot_read(slot);
        if (holds_now == hook->replacement) continue;
        strayed++;
        if (again && !slot->read_only && holds_now == hook->original) {
            slot->before = holds_now;
            slot_write(slot, hook->replacement);
        }
    }
    return strayed;
}

mi_error mi_relocations_restore(mi_relocations *set, size_t *foreign) {
    int opened[MI_SLOTS_MOST] = {0};
    *foreign = 0;
    if (!set->replaced) return MI_OK;
    mi_error error = open_pages(set, opened);
    for (size_t at = 0; at < set->count; at++) {
        mi_slot *slot = &set->slots[at];
        void *ours = set->hooks[slot->hook].replacement;
        if (slot->read_only && !opened[at]) continue;
        if (slot_read(slot) == ours)
            slot_write(slot, slot->before);
        else if (slot_read(slot) != set->hooks[slot->hook].original)
            ++*foreign;
    }
    close_pages(set, opened);
    if (!error) set->replaced = 0;
    return error;
}
#else
#include "relocations.h"

mi_error mi_relocations_find(mi_relocations *set, const void *inside, const mi_hook *hooks, size_t count) {
    (void)set, (void)inside, (void)hooks, (void)count;
    return MI_E_ABSENT;
}
mi_error mi_relocations_replace(mi_relocations *set) {
    (void)set;
    return MI_E_ABSENT;
}
size_t mi_relocations_strayed(mi_relocations *set, int again) {
    (void)set, (void)again;
    return 0;
}
mi_error mi_relocations_restore(mi_relocations *set, size_t *foreign) {
    (void)set;
    *foreign = 0;
    return MI_OK;
}
#endif
