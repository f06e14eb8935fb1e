;; Has 3.7 GiB before it does anything.
;; ends: refused
;; says: exceeds the limit

;; module
(memory 60000)
(func (export "handle") (param i32 i32)
  )
