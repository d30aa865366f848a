"""Requests, problems and commands: what somebody wants to know or to get done, without the form of a question.

Patterns in some of the languages that people search in; where a language isn't here, question marks still tell.
"""

from __future__ import annotations

import re


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


#: Words in which somebody speaks of themselves, "I" the numeral left out.
_SELF = re.compile(
    r"(?<!war )(?<!type )(?<!phase )(?<!class )(?<!part )(?<!world )\b(i|i'm|i've|i'd|i'll|im|ive|my|me|mine|myself)\b"
    r"|\b(ich|mein|meine|meinem|meinen|meiner|mir|mich)\b|\b(je|mon|mes|moi)\b|\bj'"
    r"|\b(yo|mi|mis|necesito|quiero|tengo|puedo)\b|\b(mio|mia|miei|mie|voglio|vorrei|riesco)\b"
    r"|\b(meu|minha|meus|minhas|preciso|consigo|quero)\b|\b(ik|mijn)\b|\b(jag|min|mitt|mina)\b"
    r"|\b(я|мой|моя|моё|мое|мои|мне|меня|моего|моей)\b|\b(mój|moja|moje|mojego|mojej|mogę|chcę)\b"
    r"|\b(أنا|لدي|عندي|أريد|اريد|أحتاج|أستطيع|يمكنني|أعاني)\b|我|私|僕|俺|저는|제가|내가|나는|मेरा|मेरी|मुझे|मेरे"
)
#: Wishes, and what is sought: "looking for a quiet keyboard".
_WISH = re.compile(
    r"\b(need|needs|want|wants|wanna|would like|'d like|trying|wish|hoping|attempting|struggling|having trouble"
    r"|don't know how|not sure how|no idea how) (to|with)\b|\blooking (for|to)\b"
    r"|\b(please|pls|plz) (help|advise|suggest|explain|tell|recommend|send|fix)\b|\b(help|advice|assistance) (me"
    r"|with|needed|please)\b"
    r"|^(need|needs|want|wants|looking|help|please|pls|requesting|wondering|thinking of|anybody|anyone)\b"
    r"|\b(any|some) (advice|ideas?|tips|suggestions?|recommendations?)\b|\bcan't (find|figure)\b"
    r"|\b(bitte|brauche|möchte|hilfe)\b|\b(besoin|voudrais|veux|aidez)\b|\b(ayuda|quisiera)\b|\b(aiuto)\b"
    r"|\b(помогите|подскажите|нужно|хочу)\b|أريد|ساعدوني|求助|请问|想要|推荐|ください|教えて|したい|たいです|싶"
    r"|주세요|방법|方法|方$"
)
#: "we", where nobody says what all of us should do: "we were charged twice".
_WE = re.compile(r"\b(we|we're|we've|our|ours|us)\b")
_SHOULD = re.compile(r"\b(should|must|ought|shouldn't|mustn't)\b")
_AILING = (
    r"(work|working|start|starting|open|opening|load|loading|show|showing|print|printing|respond|responding|charge"
    r"|charging|connect|connecting|sync|syncing|update|updating|save|saving|appear|appearing|recogni[sz]e"
    r"|recogni[sz]ed"
    r"|detect|detected|turn on|turning on|boot|booting|let me|close|install|installing|refresh|flush|drain)"
)
#: Something doesn't work: "app crashes on launch", "Drucker druckt nicht".
_TROUBLE = re.compile(
    rf"\b(doesn't|does not|doesnt|won't|wont|will not|isn't|is not|aren't|are not|not|no longer|stopped|didn't"
    rf"|did not|never"
    rf"|hasn't|has not|can't|cannot|couldn't|refuses to|fails to|failed to) (be )?{_AILING}\b"
    r"|\b(crash|crashes|crashed|crashing|freezes|froze|frozen|stuck|unable to|broken|keeps (on )?\w+ing|glitch\w*"
    r"|timed? out"
    r"|greyed out|blank screen|black screen|no sound|locked out|won't|can't|cannot) "
    r"|\b(stopped working|is broken|stuck|crashes|crashing|not working|keeps failing|fails)$"
    r"|\b(error|exception) (\d|code|message|when|while|on|after|in|occurred|saying)|\berror$|\berror:"
    r"|(?<=\w)(error|exception)\b"
    r"|\b(geht|funktioniert|startet|druckt|lädt|öffnet|reagiert|erscheint|klappt|lässt)\b.{0,80}\bnicht\b"
    r"|\b(fehlermeldung|stürzt|kaputt)\b"
    r"|\bstill (not|no|waiting|nothing)\b|\bnever (arrives?|arrived|works?|loads?|opens?|comes?|came)\b"
    r"|\b(stays?|goes|went) (black|blank|dark|off|red)\b|\bwrong (\w+ )?(number|price|address|size|item|file|letters)\b"
    r"|\bne (marche|fonctionne|démarre|s'ouvre|charge) (pas|plus)\b|\bimpossible de\b|\berreur\b"
    r"|\bno (funciona|puedo|abre|carga|enciende|arranca|responde)\b|\bnon (funziona|riesco|si apre|parte)\b"
    r"|\bnão (funciona|consigo|abre)\b"
    r"|\bне (работает|могу|запускается|включается|открывается|печатает)\b|\bошибка\b|\bnie (działa|mogę|włącza)\b"
    r"|لا (يعمل|تعمل|أستطيع|يمكنني|يفتح)|مشكلة|خطأ|无法|無法|不能|打不开|打不開|报错|失败|没反应|できない"
    r"|できません|動かない|エラー|開かない|されない|ない$|忘れた|안 돼|안돼|안됨|오류"
)
#: What people tell a tool to do. Nouns in most titles ("study", "design", "use") aren't here.
_VERBS = _words(
    "add allow append apply assign attach avoid bake boil block bring build bypass calculate call cancel capture",
    "cast catch center change check choose clean clear click clone close combine compare compile compress compute",
    "concatenate configure connect convert cook copy count crop create customize cut debug decode decrease delete",
    "deploy detach detect determine disable disconnect dismiss display divide download draw drop dry edit eject",
    "embed enable encode encrypt ensure escape exclude execute exit export extend extract fetch fill filter find",
    "fix flatten flip force format forward freeze generate get give go grow handle hide hook ignore import",
    "improve include increase initialize insert inspect install invert iterate join keep kill launch learn limit",
    "link list load lock login lower make manage map mend merge migrate mock modify mount move mute normalize",
    "obtain open order organize override overwrite pad paint parse pass paste patch pause pay pick pin plant play",
    "plot prepare press prevent print protect prune pull push put query raise randomize read rebuild recover",
    "redirect reduce refresh register reinstall reload remove rename render reorder repair replace request reset",
    "resize resolve restart restore retrieve return reverse revert rotate round run save scale schedule scrape",
    "scroll search select send serialize set sew share shorten show shuffle shut sign skip slice snooze solve",
    "sort specify split squash start stop store strip submit subtract swap switch sync take tell test throw tie",
    "toggle track train transfer transform translate transpose trim truncate turn unblock uncompress undo",
    "uninstall unlink unlock unmount unsubscribe unzip update upgrade upload use validate verify view wait wash",
    "watch whiten wrap write zip zoom",
)
#: Those of them that are hardly ever nouns: they are told apart behind other words, too.
_CLEAR_VERBS = _words(
    "add append apply assign attach calculate compare compile concatenate configure connect convert create",
    "customize decode decrypt delete deploy detach detect determine disable disconnect edit enable encode encrypt",
    "execute extend fetch find flatten generate get hide include initialize insert inspect install invert iterate",
    "make merge modify normalize obtain override overwrite parse print read recover redirect reduce refresh",
    "remove rename reorder replace reset resize resolve restart restore retrieve revert save scrape select send",
    "serialize sort specify split start stop subtract sync toggle transform transpose trim truncate undo",
    "uninstall unlock unsubscribe unzip validate verify write",
)
#: After a verb these show that it is a noun: "change of heart", "list of kings".
_AFTER_NOUN = _words(
    "of in for and or is was are were : - vs by as",
)
#: How instructions begin, besides: in queries these words are too often something else.
_INSTRUCTING = _VERBS | _words(
    "ask begin blot break brush call combine consider contact cover dig dip enter fold follow gently glue",
    "grind hang hold lay leave let lift look measure mix never peel place pour practise preheat press rinse",
    "rub scrub set simmer slide soak speak spray spread squeeze stir talk tap tighten tilt try twist type",
    "unplug unscrew use walk wear wet wipe work write",
)
_YOU = re.compile(r"\b(you|your|yourself|you'll|you're)\b")
_HOW = re.compile(
    r"(the )?(an? )?((easy|easiest|quick|quickest|fast|fastest|best|better|simple|simplest|good|proper|right"
    r"|correct|safe|safest|cheap|cheapest"
    r"|effective|natural|alternative|different) )*"
    r"(ways?|steps?|tips?|tricks?|instructions?|advice|procedure|process|things|tutorial|guide|hacks?|directions) "
    r"(to|for|on|about|of \w+ing|that|when|if)\b"
)


def speaks_of_self(low: str) -> bool:
    """Whether a text in lower case says "I" or "my", in one of some languages."""
    return bool(_SELF.search(low))


def speaks_of_us(low: str) -> bool:
    """Whether a text in lower case says "we" or "our" of something that happened, not of what everybody should do."""
    return bool(_WE.search(low)) and not _SHOULD.search(low)


def names_trouble(low: str) -> bool:
    """Whether a text in lower case says that something doesn't work."""
    return bool(_TROUBLE.search(low))


def wishes(low: str) -> bool:
    """Whether a text in lower case says what somebody wants, or asks for help."""
    return bool(_WISH.search(low))


def commands(text: str) -> bool:
    """Whether words tell somebody or something what to do.

    So do a verb at the start ("sort a list by two keys", "Mend a dripping tap"); one behind the name of a tool, where
    nothing is written with a capital ("kubectl restart all pods"); "ways to ..." and the like.
    """
    low = text.casefold()
    words = low.rstrip(".!").split()
    if len(words) < 2 or ": " in text:
        return False
    if _HOW.match(low):
        return True
    first = words[0].rstrip(",")
    if first in _VERBS:
        return words[1] not in _AFTER_NOUN and not (len(words) == 2 and text[0].isupper())
    if text[0].isupper() or len(words) < 3:
        return False
    return any(
        word in _CLEAR_VERBS and after not in _AFTER_NOUN
        for word, after in zip(words[1:3], [*words[2:4], ""], strict=False)
    )


def requests(text: str, low: str) -> bool:
    """Whether a text asks for something without the form of a question: a wish, a problem, a command."""
    return wishes(low) or names_trouble(low) or (commands(text) and not _is_titled(text))


def instructs(text: str) -> bool:
    """Whether a text tells its reader what to do, from its beginning or by "you" and "your" with an instruction."""
    first = re.match(r"[\W\d_]*([^\W\d_]+)[,']?\s+([^\W\d_]+)?", text.casefold())
    if first is None:
        return False
    word, after = first.groups()
    low = text.casefold()
    begins = word in _INSTRUCTING and after not in _AFTER_NOUN - {"in", "on", "for", "by"}
    inside = any(part.split(" ", 1)[0] in _INSTRUCTING for part in re.split(r"[.;,!] (?:and |then )?", low)[1:])
    return begins or (inside and bool(_YOU.search(low)))


def _is_titled(text: str) -> bool:
    long = [word for word in text.split() if len(word) > 3]
    return len(long) > 2 and all(word[0].isupper() for word in long)


__all__ = ["commands", "instructs", "names_trouble", "requests", "speaks_of_self", "speaks_of_us", "wishes"]
