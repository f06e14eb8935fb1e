;; Makes a million header maps and gives none back.
;; ends: trap
;; says: table
;; limit: Handles

(core func $fields (canon lower (func $http "[constructor]fields")))
(core instance $host (export "fields" (func $fields)))

;; module
(import "host" "fields" (func $fields (result i32)))
(global $left (mut i32) (i32.const 1000000))
(func (export "handle") (param i32 i32)
  (loop $again
    (drop (call $fields))
    (global.set $left (i32.sub (global.get $left) (i32.const 1)))
    (br_if $again (global.get $left))))
