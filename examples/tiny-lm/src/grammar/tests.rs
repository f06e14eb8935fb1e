use super::*;
use rand::SeedableRng;
use std::collections::HashSet;

fn stories(seed: u64, count: usize) -> Vec<Story> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| story(&mut rng)).collect()
}

#[test]
fn a_seed_always_tells_the_same_stories() {
    let texts = |seed| stories(seed, 50).into_iter().map(|s| s.text).collect::<Vec<_>>();
    assert_eq!(texts(7), texts(7));
    assert_ne!(texts(7), texts(8));
}

#[test]
fn stories_differ() {
    let texts: HashSet<String> = stories(1, 2000).into_iter().map(|s| s.text).collect();
    assert_eq!(texts.len(), 2000);
    let openings: HashSet<&str> = texts.iter().filter_map(|text| text.get(..60)).collect();
    assert!(openings.len() > 1500, "only {} openings of 2000 differ", openings.len());
    let words: HashSet<&str> = texts.iter().flat_map(|text| text.split(' ')).collect();
    assert!(words.len() > 800, "only {} words", words.len());
}

#[test]
fn every_story_keeps_its_facts_and_leaves_no_mark_of_the_grammar() {
    for story in stories(2, 500) {
        let text = &story.text;
        assert!(!text.contains(['[', ']', '{', '}', '<', '>', '|']), "{text}");
        assert!(text.contains(story.name) && text.contains(story.kind), "{text}");
        assert!(text.matches(story.name).count() >= 3, "{text}");
        for (other, _) in NAMES.iter().filter(|(other, _)| *other != story.name) {
            let found = text.split(|c: char| !c.is_alphabetic()).any(|word| word == *other);
            assert!(!found, "{other} in {text}");
        }
        for pair in text.split(' ').collect::<Vec<_>>().windows(2) {
            let wrong = matches!(pair[0], "a" | "A") && starts_with_vowel(pair[1]);
            assert!(!wrong, "{pair:?} in {text}");
        }
        assert!(text.ends_with(['.', '"', '!']), "{text}");
    }
}

#[test]
fn choices_nest() {
    let facts = Facts { pairs: vec![("x", "1".to_owned())] };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut seen = HashSet::new();
    for _ in 0..100 {
        let mut out = String::new();
        expand("[a[b|c]{x}|d]", &facts, &mut rng, &mut out);
        seen.insert(out);
    }
    assert_eq!(seen, ["ab1", "ac1", "d"].map(str::to_owned).into());
}
