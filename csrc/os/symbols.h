/* symbols.h - the function that an address of this process lies in, by the symbol tables of the files that are mapped.
 *
 * Read from the file's own sections (.symtab, which names static functions too, else .dynsym), never by dladdr(): that
 * takes the dynamic linker's lock, which a thread may hold for long. A file that is not the mapped one any more names
 * nothing. */
#ifndef MI_SYMBOLS_H
#define MI_SYMBOLS_H

#include "os.h"

/* Writes the name of the function at `address`, "" when its file does not say. MI_E_UNMAPPED: no code of a file is there.
 * *object: the path of the mapping, which lives as long as `maps`. */
mi_error mi_symbol_at(const mi_maps *maps, uintptr_t address, char *name, size_t size, const char **object);

#endif
