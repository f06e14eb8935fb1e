//! The plots, in a small language of their own.
//!
//! `[a|b]` picks one of the alternatives (they nest), `{fact}` is a fact that stays the same through
//! the story, and `<pool>` draws a new word each time. "a" becomes "an" by itself.

/// A plot: what it is about, and how it goes.
pub(crate) struct Plot {
    /// Words that fill "a story about ...".
    pub(crate) themes: &'static [&'static str],
    /// The story between opening and ending.
    pub(crate) text: &'static str,
}

/// How stories start. Introduces name, kind, trait and place.
pub(crate) const OPENING: &str = "[Once upon a time, there was {a_hero} named {name}. {name} lived \
    {place}.|Once upon a time, {place}, there lived {a_hero} named {name}.|There once was {a_hero} \
    named {name} who lived {place}.|Long ago, {place}, {a_hero} named {name} had a home.|Once there \
    was {a_hero} who lived {place}. {His} name was {name}.]";

/// How the day of the story starts.
pub(crate) const DAY: &str = "[One {weather} {time}, |One {time}, |On a {weather} {time}, |It was a \
    {weather} {time} when ]";

/// How stories end.
pub(crate) const ENDING: &str = "[That night, {name} fell asleep with a smile.|From that day on, \
    {name} and the {friend} were best friends.|And {name} was the [happiest|proudest|luckiest] \
    {kind} of all.|{name} never forgot that day.|Then {name} went home and ate <food>.|{name} \
    laughed and the {friend} laughed too.|\"This was the best day ever,\" said {name}.|At home, \
    {name} told everyone about it over a plate of <food>.|And they all had <food> together.|When \
    the <sky_light> came out, {name} was still smiling.]";

/// All plots.
pub(crate) const PLOTS: &[Plot] = &[
    Plot {
        themes: &["losing something", "finding things", "searching"],
        text: "{day}{name} could not find {his} {look} {thing}. {He} looked {spot2}, but it was not \
            there. {He} looked {spot3}, but [there was nothing|it was not there either]. {name} felt \
            {sad}. Then a {ftrait} {friend} came by. \"Why do you look so {sad}?\" asked the \
            {friend}. \"I lost my {thing},\" said {name}. [\"I will help you,\"|\"Let us look \
            together,\"] said the {friend}. They searched <manner>. At last they found the {thing} \
            {spot}! [\"Thank you!\" said {name}.|{name} hugged the {friend}.] {name} was {happy}.",
    },
    Plot {
        themes: &["sharing", "being generous"],
        text: "{day}{name} found a {look} {thing} {spot}. {He} [loved it very much|thought it was \
            wonderful] and wanted to keep it. A {ftrait} {friend} saw the {thing} and asked, \"May I \
            [play with it|hold it|try it]?\" \"No, it is mine,\" said {name}. The {friend} went away \
            and looked {sad}. Soon {name} was [bored|lonely]. {He} thought about it [for a long time|all evening]. Then \
            {name} ran after the {friend} and said, \"I am sorry. Let us share the {thing}.\" They \
            played {game} with the {thing} until dark. {name} learned that [sharing makes everything \
            more fun|a thing is better when you share it].",
    },
    Plot {
        themes: &["courage", "being brave", "a rescue"],
        text: "{day}{name} heard {sound}. {He} was {sad}, but {he} went to look. \
            A {ftrait} {friend} was stuck {spot}. \"Please help me!\" cried the {friend}. {name} \
            looked around and saw a {look} {thing}. [\"I have an idea,\"|\"Do not worry,\"] said \
            {name}. {He} used the {thing} <manner> and pulled as hard as {he} could. [One, two, \
            three!|It took a long time.] The {friend} was free! \"You are so brave,\" said the \
            {friend}. {name} was {happy} because {he} had [been brave|not run away].",
    },
    Plot {
        themes: &["learning", "not giving up", "practice"],
        text: "{name} wanted to {skill}. {day}{he} tried for the first time, but {he} [fell \
            down|could not do it|got it all wrong]. A {ftrait} {friend} laughed. {name} was {sad}. \
            Then the old {elder} said, \"Nobody can {skill} on the first day. [Try a little every \
            day.|You must practice.]\" So {name} tried again and again. The {elder} gave {him} a \
            {look} {thing} for luck. After many days, {name} could {skill}! Even the {friend} \
            [clapped|cheered|was amazed]. \"Will you teach me to {skill}?\" asked the {friend}. \
            \"Of course,\" said {name}, who was very {happy}.",
    },
    Plot {
        themes: &["a gift", "a birthday", "kindness"],
        text: "{day}{name} wanted to make a gift, because it was the birthday of the {friend}. {He} \
            had no money. {name} went to the {elder} and asked for work. All day {name} [swept the \
            floor|carried water|cleaned the windows|watered the <plant>s] <manner>. In the evening the \
            {elder} gave {him} a {look} {thing}. {name} put the {thing} in a box and tied it with a \
            <look> ribbon. When the {ftrait} {friend} opened the box, the {friend} [jumped for \
            joy|cried happy tears]. \"It is the best gift of all!\" said the {friend}. {name} felt \
            {happy}.",
    },
    Plot {
        themes: &["honesty", "telling the truth", "a mistake"],
        text: "{day}{name} was playing {game} and broke the {look} {thing} of the {elder}. Nobody \
            saw it. {name} hid the {thing} {spot}. But {he} felt {sad} and could not [eat|sleep|play]. \
            {His} friend, a {ftrait} {friend}, said, \"You should tell the truth.\" So {name} went to \
            the {elder} and said, \"I broke your {thing}. I am sorry.\" The {elder} was quiet for a \
            moment. Then the {elder} smiled and said, \"Thank you for [being honest|telling me].\" \
            Together they mended the {thing}. {name} was {happy} and felt as light as a feather.",
    },
    Plot {
        themes: &["friendship", "being lonely", "making friends"],
        text: "{name} had no friends and often felt {sad}. {day}{he} took {his} {look} {thing} and \
            went for a walk. On the way {name} met a {ftrait} {friend} who was crying {spot}. \"What \
            is wrong?\" asked {name}. \"Nobody wants to play with me,\" said the {friend}. \"I will \
            play with you,\" said {name}. They played {game} all [day|afternoon]. {name} let the \
            {friend} [hold|carry|try] the {thing}. When it got late, the {friend} said, \"Will you \
            come back tomorrow?\" \"Yes,\" said {name}. {name} was {happy} to have a friend.",
    },
    Plot {
        themes: &["patience", "growing things", "a garden"],
        text: "{day}{name} planted a {plant} in {his} garden. {He} [sat down|waited] and looked at \
            the ground, but nothing happened. \"Why does it not grow?\" asked {name}. A {ftrait} \
            {friend} said, \"You must wait.\" {name} watered the {plant} every day from {his} {look} \
            {thing}. It rained. The sun came out. {name} [sang to it|told it stories|kept the snails \
            away]. One morning a [small|tiny] green leaf came up! Soon the {plant} was [as tall as \
            {name}|the biggest of all]. \"You were right,\" said {name} to the {friend}. \"Good \
            things take time.\" {name} was {happy}.",
    },
    Plot {
        themes: &["adventure", "treasure", "exploring"],
        text: "{day}{name} found an old map inside a {look} {thing}. The map showed a treasure \
            {spot}. \"Let us go!\" said {name} to {his} friend, a {ftrait} {friend}. They walked over \
            the hill and [crossed a river|climbed a wall|crept through a tunnel]. They heard {sound}, \
            and {name} was {sad}, but they went on [bravely|quietly|slowly]. At last they came to the place and dug. \
            There was a <look> chest! Inside was [a note that said, \"The best treasure is a good \
            friend.\"|a heap of <food>.|a <look> crown and a letter from the {elder}.] {name} looked \
            at the {friend} and was {happy}.",
    },
    Plot {
        themes: &["the night", "being afraid of the dark", "sleeping", "the sky"],
        text: "{name} was afraid of the dark. {day}{he} could not sleep and felt {sad}. {name} heard \
            {sound} outside. \"Who is there?\" asked {name}. \"It is only me,\" said a {ftrait} \
            {friend}. \"Come out and look at {sky}.\" {name} took {his} {look} {thing} and went \
            outside <manner>. They sat down [on the grass|on a big stone|side by side] and looked at \
            {sky}. It was [so beautiful|wonderful]. \"The dark is not so bad,\" said {name}. After \
            that, {name} put the {thing} next to {his} bed and was never afraid again.",
    },
    Plot {
        themes: &["a storm", "helping", "working together"],
        text: "{day}a great storm came. The wind blew away the house of a {ftrait} {friend}. The \
            {friend} was {sad}. \"You can stay with me,\" said {name}. {name} gave the {friend} \
            <food> and a warm bed. In the morning they built a new house [on the hill|near the old one|under a tall \
            tree]. {name} carried the \
            wood, and the {friend} [held the nails|cut the boards|painted the door]. The {elder} \
            brought a {look} {thing} for the new house. When everything was done, {name} hung the \
            {thing} [over the door|on the wall|by the window]. \"Thank you, {name},\" said the \
            {friend}. {name} was tired but {happy}.",
    },
    Plot {
        themes: &["a race", "winning and losing", "being fair"],
        text: "{day}there was a race. The prize was a {look} {thing}. {name} wanted to win. \
            {He} ran [fast|quickly|like the wind] and was soon ahead. Then {name} heard {sound}. A {ftrait} {friend} had \
            fallen down and was hurt. {name} stopped. [If {he} helped, {he} would lose.|{He} looked at \
            the finish line.] But {name} turned around and helped the {friend} to stand up. They \
            crossed the line together, and they were last. The {elder} smiled and gave {name} the \
            {thing}. \"You did not win the race,\" said the {elder}, \"but you [were kind|won a \
            friend].\" {name} was {happy}.",
    },
    Plot {
        themes: &["music", "a party", "joy"],
        text: "{day}{name} found a {look} {thing} {spot}. When {name} touched it, it made {sound}. \
            \"It is a magic {thing}!\" said {name}. {He} took it home <manner>. Every time {name} was \
            {sad}, {he} touched the {thing}, and [music|a sweet song] filled the air. A {ftrait} \
            {friend} heard it and began to dance. Then the {elder} came and danced too. Soon \
            everybody was [dancing|singing]. They ate <food> and played {game} until late. \
            \"A song is for everyone,\" said {name}, and {he} was {happy}.",
    },
    Plot {
        themes: &["a visit", "a journey", "coming home"],
        text: "{day}{name} packed {his} {look} {thing} and some <food>. {He} wanted to visit {his} \
            grandmother. On the way {name} met a {ftrait} {friend} who was [hungry|cold|lost]. {name} \
            shared the food, and they went on together. They walked and walked. Then they came to a \
            [wide river|dark wood|steep hill], and {name} was {sad}. \"I know a way,\" said the \
            {friend}. \"Follow me.\" The {friend} led {name} <manner> to the other side. There was the \
            little house! Grandmother hugged {name} and the {friend}. \"What a fine {thing} you \
            have,\" she said. {name} was {happy} to be there.",
    },
];
