;; Makes an integer of a float that no integer can be.
;; ends: trap
;; says: integer overflow

;; module
(func (export "handle") (param i32 i32)
  (drop (i32.trunc_f64_s (f64.const 1e300))))
