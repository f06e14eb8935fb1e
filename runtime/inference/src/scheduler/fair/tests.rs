use super::*;

fn payer(name: &str) -> Arc<str> {
    Arc::from(name)
}

/// Serves `turns` tasks of the given sizes; says how many tokens each payer got.
fn serve(sizes: &[(&str, usize)], turns: usize) -> Vec<usize> {
    let mut fair = Fair::default();
    let all: Vec<_> = sizes.iter().map(|(name, _)| payer(name)).collect();
    let mut got = vec![0; sizes.len()];
    for _ in 0..turns {
        let next = fair.next(&all).unwrap();
        let i = all.iter().position(|payer| *payer == next).unwrap();
        fair.charge(&next, sizes[i].1);
        got[i] += sizes[i].1;
    }
    got
}

#[test]
fn payers_get_the_same_whatever_the_size_of_their_tasks() {
    for sizes in [[("a", 10), ("b", 1_000)], [("a", 700), ("b", 700)], [("a", 3_000), ("b", 64)]] {
        let got = serve(&sizes, 2_000);
        let off = got[0].abs_diff(got[1]);
        assert!(off <= 4_000, "{sizes:?}: {got:?}");
    }
}

#[test]
fn who_has_had_little_comes_first() {
    let mut fair = Fair::default();
    let (heavy, light) = (payer("heavy"), payer("light"));
    // Alone it owes nobody.
    fair.next(&[Arc::clone(&heavy)]);
    fair.charge(&heavy, 1_000_000);
    assert_eq!(fair.left("heavy"), 0, "and the next round has not begun");
    let both = [Arc::clone(&heavy), Arc::clone(&light)];
    fair.next(&both);
    fair.charge(&heavy, 100_000);
    assert!(fair.left("heavy") < fair.left("light"));
    for _ in 0..16 {
        assert_eq!(fair.next(&both).unwrap(), light);
        fair.charge(&light, 256);
    }
    // What it owes is bounded: some rounds later it has its turn.
    let turns = (0..100).take_while(|_| {
        let next = fair.next(&both).unwrap();
        fair.charge(&next, 256);
        next == light
    });
    assert!(turns.count() < 40);
    fair.forget(|_| false);
    assert!(fair.ring.is_empty() && fair.next(&[]).is_none());
}

#[test]
fn rows_are_split_max_min() {
    for (rows, demands, expect) in [
        (10, vec![1, 60], vec![1, 9]),
        (10, vec![60, 1, 60], vec![5, 1, 4]),
        (100, vec![3, 4], vec![3, 4]),
        (2, vec![5, 5, 5], vec![1, 1, 0]),
        (0, vec![5], vec![0]),
        (7, vec![], vec![]),
        (8, vec![0, 8], vec![0, 8]),
    ] {
        assert_eq!(split(rows, &demands), expect, "{rows} {demands:?}");
    }
}
