use super::{Blocks, Key};

fn keys(of: &[u128]) -> Vec<Key> {
    of.iter().map(|key| Key(*key)).collect()
}

/// Takes blocks and names them.
fn fill(blocks: &mut Blocks, of: &[u128]) -> Vec<u32> {
    let mut ids = Vec::new();
    assert!(blocks.take(of.len(), &mut ids));
    ids.iter().zip(of).for_each(|(id, key)| blocks.name(*id, Key(*key)));
    ids
}

#[test]
fn what_was_given_back_is_found_until_it_is_taken() {
    let mut blocks = Blocks::new(4);
    let first = fill(&mut blocks, &[1, 2]);
    blocks.give(first.clone());
    assert_eq!((blocks.free(), blocks.cached(&keys(&[1, 2, 3]))), (4, (2, 2)));
    // What follows one that is not there is out of reach.
    assert_eq!(blocks.cached(&keys(&[7, 1])), (0, 0));
    // Two were never used; the next one taken is the end of the oldest.
    let mut taken = Vec::new();
    assert!(blocks.take(3, &mut taken));
    assert_eq!(blocks.cached(&keys(&[1, 2])), (1, 1));
    assert!(taken.contains(&first[1]) && !taken.contains(&first[0]));
    assert!(!blocks.take(2, &mut taken) && taken.len() == 3, "nothing is taken by halves");
}

#[test]
fn shared_blocks_are_free_when_the_last_user_leaves() {
    let mut blocks = Blocks::new(3);
    let first = fill(&mut blocks, &[1, 2]);
    let mut second = Vec::new();
    blocks.adopt(&keys(&[1, 2, 3]), &mut second);
    assert_eq!((&second, blocks.free()), (&first, 1));
    blocks.give(first);
    assert_eq!(blocks.free(), 1);
    blocks.give(second);
    assert_eq!((blocks.free(), blocks.cached(&keys(&[1, 2]))), (3, (2, 2)));
}

#[test]
fn the_one_used_last_is_forgotten_last() {
    let mut blocks = Blocks::new(2);
    let (a, b) = (fill(&mut blocks, &[1]), fill(&mut blocks, &[2]));
    blocks.give(a);
    blocks.give(b);
    let mut again = Vec::new();
    blocks.adopt(&keys(&[1]), &mut again);
    blocks.give(again);
    let mut taken = Vec::new();
    assert!(blocks.take(1, &mut taken));
    assert_eq!([blocks.cached(&keys(&[1])).0, blocks.cached(&keys(&[2])).0], [1, 0]);
}

#[test]
fn the_same_content_has_one_name() {
    let mut blocks = Blocks::new(2);
    let (a, b) = (fill(&mut blocks, &[1]), fill(&mut blocks, &[1]));
    blocks.give(b);
    let mut found = Vec::new();
    blocks.adopt(&keys(&[1]), &mut found);
    assert_eq!(found, a);
    blocks.give(a);
    blocks.give(found);
    assert_eq!(blocks.free(), 2);
}
