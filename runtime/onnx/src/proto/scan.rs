/// What a field may be of which message is looked into.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
}

/// Messages in messages, by the number of their field.
const MESSAGES: [(Kind, u64, Kind); 6] = [
    (Kind::Model, 7, Kind::Graph),
    (Kind::Graph, 1, Kind::Node),
    (Kind::Graph, 5, Kind::Tensor),
    (Kind::Node, 5, Kind::Attribute),
    (Kind::Attribute, 5, Kind::Tensor),
    (Kind::Attribute, 6, Kind::Graph),
];

/// How deep messages may lie within each other: as deep as the decoder goes.
const DEPTH_MAX: usize = 100;

/// How many messages and texts a model's file has, each of which takes more memory than in the file.
/// What is no file at all is left to the decoder.
pub(crate) fn parts(file: &[u8]) -> usize {
    count(file, Kind::Model, DEPTH_MAX)
}

fn count(bytes: &[u8], kind: Kind, depth: usize) -> usize {
    let (mut rest, mut parts) = (bytes, 0);
    while let Some((field, inner)) = field(&mut rest) {
        let Some(inner) = inner else { continue };
        let found = MESSAGES.iter().find(|(of, number, _)| *of == kind && *number == field);
        parts += 1;
        if let Some((.., kind)) = found.filter(|_| depth > 0) {
            parts += count(inner, *kind, depth - 1);
        }
    }
    parts
}

/// The next field, and its bytes where it says how many these are.
fn field<'b>(rest: &mut &'b [u8]) -> Option<(u64, Option<&'b [u8]>)> {
    let key = number(rest)?;
    let skipped = match key & 7 {
        0 => {
            number(rest)?;
            return Some((key >> 3, None));
        }
        1 => 8,
        2 => usize::try_from(number(rest)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (inner, behind) = rest.split_at_checked(skipped)?;
    *rest = behind;
    Some((key >> 3, (key & 7 == 2).then_some(inner)))
}

/// A number of seven bits in each byte.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
