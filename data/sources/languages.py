"""The languages that Whisper knows: its codes, and what else they are called.

Whisper's codes are mostly those of ISO 639-1. Corpora also name a language by its three letters (ISO 639-2 and 639-3),
by those of one of its forms, by a code that is no longer in use, by its English name, or with a region.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BeforeValidator

# Whisper's code, then what else stands for it; names have no spaces here.
TABLE = """
af afr afrikaans
am amh amharic
ar ara arb arabic arz ary apc acm ajp afb acq apd
as asm assamese
az aze azj azb azerbaijani azeri
ba bak bashkir
be bel belarusian
bg bul bulgarian
bn ben bengali bangla
bo bod tib tibetan
br bre breton
bs bos bosnian
ca cat catalan valencian
cs ces cze czech
cy cym wel welsh
da dan danish
de deu ger german
el ell gre greek
en eng english
es spa spanish castilian
et est ekk estonian
eu eus baq basque
fa fas per pes prs persian farsi dari
fi fin finnish
fo fao faroese
fr fra fre french
gl glg galician
gu guj gujarati
ha hau hausa
haw hawaiian
he heb iw hebrew
hi hin hindi
hr hrv croatian
ht hat haitian haitiancreole
hu hun hungarian
hy hye arm armenian
id ind in indonesian
is isl ice icelandic
it ita italian
ja jpn japanese
jw jv jav javanese
ka kat geo georgian
kk kaz kazakh
km khm khmer
kn kan kannada
ko kor korean
la lat latin
lb ltz luxembourgish letzeburgesch
ln lin lingala
lo lao laotian
lt lit lithuanian
lv lav lvs latvian
mg mlg plt malagasy
mi mri mao maori
mk mkd mac macedonian
ml mal malayalam
mn mon khk mongolian
mr mar marathi
ms msa may zsm zlm malay malaysian
mt mlt maltese
my mya bur burmese myanmar
ne nep npi nepali
nl nld dut dutch flemish
nn nno nynorsk norwegiannynorsk
no nb nor nob norwegian bokmal bokmål norwegianbokmål
oc oci occitan
pa pan punjabi panjabi
pl pol polish
ps pus pbt pbu pashto pushto
pt por portuguese
ro ron rum mo mol romanian moldavian moldovan
ru rus russian
sa san sanskrit
sd snd sindhi
si sin sinhala sinhalese
sk slk slo slovak
sl slv slovenian slovene
sn sna shona
so som somali
sq sqi alb als albanian
sr srp serbian
su sun sundanese
sv swe swedish
sw swa swh swc swahili kiswahili
ta tam tamil
te tel telugu
tg tgk tajik
th tha thai
tk tuk turkmen
tl tgl fil tagalog filipino
tr tur turkish
tt tat tatar
uk ukr ukrainian
ur urd urdu
uz uzb uzn uzbek
vi vie vietnamese
yi yid ydd ji yiddish
yo yor yoruba
yue cantonese
zh zho chi cmn chinese mandarin
"""
CODES = tuple(line.split()[0] for line in TABLE.split("\n") if line)
MEANT = {word: line.split()[0] for line in TABLE.split("\n") for word in line.split()}
REGION = re.compile(r"([A-Za-z]{2,3})(?:[_-]\w+)+")  # BCP 47, and its form with underscores


def whisper_code(language: str) -> str:
    """Whisper's code of a language that is given in any usual way; what is unknown stays as it is.

    ``nb``, ``nob``, ``nb-NO``, ``no_NO`` and ``Norwegian`` are ``no``; ``zh_Hant_TW`` is ``zh``.
    """
    plain = language.strip().lower()
    whole = MEANT.get(re.sub(r"[\s()-]+", "", plain))
    if whole is not None:
        return whole
    region = REGION.fullmatch(plain)
    return MEANT.get(region[1], region[1]) if region else language


def nearest_language(language: str, known: Iterable[str] = CODES) -> str:
    """`` (did you mean 'turkish', 'tr'?)`` for a misspelt name, or nothing. That codes are alike says nothing."""
    if len(language) <= 3:
        return ""
    known = set(known)
    near = difflib.get_close_matches(language.lower(), [word for word in MEANT if len(word) > 3], n=1, cutoff=0.7)
    return f" (did you mean {near[0]!r}, {MEANT[near[0]]!r}?)" if near and MEANT[near[0]] in known else ""


def read_language(given: Any) -> Any:
    """What a config has as a language, as Whisper's code; in YAML a bare ``no`` is false."""
    return "no" if given is False else whisper_code(given) if isinstance(given, str) else given


Language = Annotated[str, BeforeValidator(read_language)]
