//! How the texts of hostile guests become components.

/// What the comment `;; key: …` says.
pub(crate) fn header<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(";; ")?.strip_prefix(key)?.strip_prefix(": "))
}

/// What stands before the line `;; module` is put into the component around the guest, what follows is
/// its core module.
pub(crate) fn component(text: &str) -> Vec<u8> {
    let (parts, module) = text.split_once(";; module\n").expect("a line `;; module`");
    let host = if parts.contains("(core instance $host") {
        r#"(with "host" (instance $host))"#
    } else {
        ""
    };
    let text = format!(
        r#"(component
            (import "wasi:http/types@0.2.0" (instance $http
                (export "fields" (type $f (sub resource)))
                (export "incoming-request" (type $r (sub resource)))
                (export "response-outparam" (type (sub resource)))
                (export "[constructor]fields" (func (result (own $f))))
                (export "[method]incoming-request.path-with-query"
                    (func (param "self" (borrow $r)) (result (option string))))))
            (alias export $http "incoming-request" (type $request))
            (alias export $http "response-outparam" (type $outparam))
            (core module $library
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 32768))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.get $next)
                    (global.set $next (i32.and
                        (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7))
                        (i32.const -8)))))
            (core instance $library (instantiate $library))
            (alias core export $library "memory" (core memory $memory))
            (alias core export $library "realloc" (core func $realloc))
            {parts}
            (core module $guest {module})
            (core instance $guest
                (instantiate $guest (with "library" (instance $library)) {host}))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $guest "handle")))
            (instance $handler (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}"))
}
