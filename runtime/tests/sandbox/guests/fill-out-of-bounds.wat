;; Fills 4 GiB from the last byte of its memory.
;; ends: trap
;; says: out of bounds memory access

;; module
(memory 1)
(func (export "handle") (param i32 i32)
  (memory.fill (i32.const 65535) (i32.const 0) (i32.const -1)))
