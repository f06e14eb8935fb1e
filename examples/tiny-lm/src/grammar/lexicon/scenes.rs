//! The words that stories are made of: when, how and what happens.

/// Things to eat.
pub(crate) const FOODS: &[&str] = &[
    "apple pie",
    "honey cake",
    "blueberry muffins",
    "carrot soup",
    "warm bread",
    "pancakes",
    "strawberries",
    "cheese",
    "chocolate cookies",
    "plum jam",
    "roasted nuts",
    "mushroom stew",
    "cherry tart",
    "pumpkin soup",
    "sweet corn",
    "ginger biscuits",
    "lemon cake",
    "noodles",
    "peach juice",
    "hot cocoa",
    "mint tea",
    "raspberries",
    "potato salad",
    "vanilla pudding",
];

/// What the day is like.
pub(crate) const WEATHER: &[&str] = &[
    "sunny", "windy", "rainy", "snowy", "cloudy", "foggy", "warm", "cold", "stormy", "frosty",
    "hot", "misty", "bright", "gray",
];

/// When something happens.
pub(crate) const TIMES: &[&str] = &[
    "morning",
    "afternoon",
    "evening",
    "day",
    "spring morning",
    "summer day",
    "autumn afternoon",
    "winter evening",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];

/// Feelings that end well.
pub(crate) const HAPPY: &[&str] = &[
    "happy",
    "glad",
    "proud",
    "thankful",
    "delighted",
    "joyful",
    "cheerful",
    "excited",
    "pleased",
    "relieved",
];

/// Feelings that start a story.
pub(crate) const SAD: &[&str] = &[
    "sad",
    "worried",
    "lonely",
    "upset",
    "afraid",
    "scared",
    "unhappy",
    "nervous",
    "gloomy",
    "disappointed",
];

/// Where things hide.
pub(crate) const SPOTS: &[&str] = &[
    "under a bush",
    "behind a rock",
    "in a hollow tree",
    "under the bed",
    "inside an old barrel",
    "on top of the roof",
    "beside the well",
    "in the tall grass",
    "under a pile of leaves",
    "behind the barn",
    "in a deep hole",
    "next to the fence",
    "under the bridge",
    "in a bird nest",
    "between two logs",
    "near the waterfall",
    "in the attic",
    "behind the curtain",
    "under the stairs",
    "at the bottom of the pond",
    "in a dark cave",
    "beneath the apple tree",
];

/// Things that can be learned.
pub(crate) const SKILLS: &[&str] = &[
    "swim",
    "sing",
    "dance",
    "whistle",
    "paint",
    "bake bread",
    "climb trees",
    "read",
    "skate",
    "juggle",
    "ride a bicycle",
    "play the flute",
    "tie a knot",
    "count the stars",
    "jump rope",
    "row a boat",
    "build a tower",
    "tell jokes",
    "write letters",
    "plant seeds",
    "cook soup",
    "fly a kite",
    "stand on one leg",
    "catch a ball",
    "draw a map",
];

/// Who helps when it is not an animal.
pub(crate) const ELDERS: &[&str] = &[
    "baker",
    "farmer",
    "fisherman",
    "teacher",
    "gardener",
    "shepherd",
    "blacksmith",
    "captain",
    "painter",
    "miller",
    "postman",
    "tailor",
    "doctor",
    "librarian",
    "carpenter",
    "clockmaker",
];

/// What is heard.
pub(crate) const SOUNDS: &[&str] = &[
    "a soft cry",
    "a loud crash",
    "a strange hum",
    "a tiny squeak",
    "a long howl",
    "a deep rumble",
    "a sweet song",
    "a gentle knock",
    "a splash",
    "a rustle",
    "a sneeze",
    "a whisper",
    "a giggle",
    "a bell ringing",
    "a low growl",
];

/// What grows.
pub(crate) const PLANTS: &[&str] = &[
    "rose",
    "tulip",
    "daisy",
    "sunflower",
    "pumpkin",
    "tomato",
    "carrot",
    "cabbage",
    "pear tree",
    "oak tree",
    "bean",
    "strawberry plant",
    "lily",
    "melon",
    "turnip",
    "cherry tree",
    "violet",
];

/// What games are played.
pub(crate) const GAMES: &[&str] = &[
    "hide and seek",
    "tag",
    "a guessing game",
    "pirates",
    "a race",
    "catch",
    "tug of war",
    "a treasure hunt",
    "leapfrog",
    "a board game",
    "kings and queens",
    "follow the leader",
];

/// What is in the sky.
pub(crate) const SKIES: &[&str] = &[
    "the stars",
    "the moon",
    "the clouds",
    "a rainbow",
    "the sunset",
    "the sunrise",
    "a shooting star",
    "the northern lights",
    "the birds",
    "the snowflakes",
];

/// Manner.
pub(crate) const MANNERS: &[&str] = &[
    "slowly",
    "quickly",
    "carefully",
    "quietly",
    "bravely",
    "gently",
    "happily",
    "proudly",
    "softly",
    "loudly",
    "kindly",
    "eagerly",
    "patiently",
    "at once",
    "without a word",
];
