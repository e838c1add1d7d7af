# What lies at the beginning of blocks of malloc: an object of which type.

cdef list types_at(list blocks):
    """Of each address of a block of malloc's the type of the object that begins there: (module, name); None when it is
    none, or 0. Debug hooks put their words before it, once or, where pymalloc asks malloc, twice."""
    cdef _Graph reader = _Graph()
    cdef mi_arena_table table
    cdef mi_allocator allocator
    cdef bint hidden = False
    cdef unsigned char[64] header
    cdef uintptr_t object_at
    cdef int place
    reader.prepare()
    own_table(&reader.guard.target, the_layout(), &table, &hidden)
    check(mi_allocator_look(&reader.guard.target, the_layout(), &table, &allocator))
    hooks = [0, 16, 32] if allocator.debug else [0]
    found = []
    for block in blocks:
        name = None
        for before, hook in [(before, hook) for hook in hooks for before in (0, 16, 32)] if block else ():
            object_at = <uintptr_t>block + <uintptr_t>(before + hook)
            if mi_target_read(&reader.guard.target, object_at, header, <size_t>the_layout().object_size) != MI_OK:
                continue
            place = mi_object_type(the_layout(), &reader.types, header)
            if place >= 0 and reader.types.items[place].preheader == before:
                name = type_text(<object><PyObject *>reader.types.items[place].address)
                break
        found.append(name)
    return found
