;; Computes without end where the host asks for memory.
;; ends: deadline
;; says: CPU time
;; limits: cpu_ms_max=50
;; limit: Cpu

(core module $evil
  (memory (export "memory") 1)
  (func (export "realloc") (param i32 i32 i32 i32) (result i32)
    (loop (br 0)) unreachable))
(core instance $evil (instantiate $evil))
(alias core export $evil "memory" (core memory $evil-memory))
(alias core export $evil "realloc" (core func $evil-realloc))
(core func $path (canon lower (func $http "[method]incoming-request.path-with-query")
  (memory $evil-memory) (realloc $evil-realloc)))
(core instance $host (export "path" (func $path)))

;; module
(import "host" "path" (func $path (param i32 i32)))
(func (export "handle") (param i32 i32)
  (call $path (local.get 0) (i32.const 0)))
