;; Its data do not fit its memory.
;; ends: trap
;; says: out of bounds memory access

;; module
(memory 1)
(data (i32.const 65535) "two")
(func (export "handle") (param i32 i32)
  )
