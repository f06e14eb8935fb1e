;; Wants a result written behind its memory.
;; ends: trap
;; says: out of bounds

(core func $path (canon lower (func $http "[method]incoming-request.path-with-query")
  (memory $memory) (realloc $realloc)))
(core instance $host (export "path" (func $path)))

;; module
(import "library" "memory" (memory 1))
(import "host" "path" (func $path (param i32 i32)))
(func (export "handle") (param i32 i32)
  (call $path (local.get 0) (i32.const -4)))
