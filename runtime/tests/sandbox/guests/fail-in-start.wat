;; Fails before it is asked anything.
;; ends: trap
;; says: unreachable

;; module
(func $start unreachable)
(start $start)
(func (export "handle") (param i32 i32)
  )
