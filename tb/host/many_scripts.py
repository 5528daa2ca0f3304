"""A page of text in twenty-odd scripts, with what tokenizers stumble over: emoji, control characters, runs, numbers."""

__all__ = ["PAGE", "SPECIAL"]

SCRIPTS = """\
All people are born free, and equal in dignity; they've reason, and they'll act as brothers. DON'T SHOUT, I'M HERE!
Tous les êtres humains naissent libres — « égaux » en dignité. L’été, où çà? Straße, Übermut; İstanbul'da ığdır.
Các con người đều sinh ra tự do, bình đẳng. Þórður æðir; Łódź, žluťoučký kůň; naïve café co-operate.
Все люди рождаются свободными и равными. Ўсе людзі; Їжак; Љубав.
Όλοι οι άνθρωποι γεννιούνται ελεύθεροι. Ὦ ἄνδρες Ἀθηναῖοι.
Բոլոր մարդիկ ծնվում են ազատ։
ყველა ადამიანი იბადება თავისუფალი. ᲛᲗᲐᲕᲠᲣᲚᲘ
כל בני האדם נולדו בני חורין. שָׁלוֹם
يولد جميع الناس أحرارًا متساوين. ٱلْعَرَبِيَّة ۱۲۳ ٤٥٦
सभी मनुष्यों को स्वतन्त्रता प्राप्त है। क्षत्रिय १२३
সমস্ত মানুষ স্বাধীনভাবে জন্মগ্রহণ করে। ৪৫৬
ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਜ਼ਾਦ ਹੈ।
સર્વ માનવો સ્વતંત્ર જન્મે છે.
மனிதப் பிறவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்.
ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును సమానులే.
ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ.
മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടെ ജനിച്ചവരാണ്.
සියලු මනුෂ්‍යයෝ නිදහස්ව උපත ලබා ඇත.
มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน ๑๒๓
ມະນຸດທຸກຄົນເກີດມາມີອິດສະຫຼະ
လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာ
មនុស្សទាំងអស់កើតមកមានសេរីភាព
人人生而自由，在尊严和权利上一律平等。他們賦有理性！？𠮷野家
すべての人間は、生まれながらにして自由であり、ﾊﾝｶｸ カタカナ ー。
모든 인간은 태어날 때부터 자유로우며 존엄하다. 한국
የሰው ልጅ ሁሉ ሲወለድ ነጻ ነው።
ᎣᏂᏴᏫ ᏂᎦᏓ ᏗᎨᏥᎾᏍᎬᎢ
བོད་ཡིག མི་རིགས
ᠮᠣᠩᠭᠣᠯ
"""
REST = """\
Emoji 🦙🙂👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇳🇴🇯🇵 ❤️ ☃ ©®™ ①②③ Ⅷ ½ ² ₃ x² ½kg ∑∂≈≠ →⇒ $€£¥₿ ﷺ ﬁ ﬀ Ａｂｃ１２ ℌ
Numbers 0 7 42 365 1234 56789 1234567 3.14159 1,000,000 0x1F -17 1e-9 2026-11-30T12:46 v1.2.3 a1b22c333
def  f(x):\n\treturn  x**2  # it's   \t two\n    if x<=3 && y!=4 || z: {"a": [1,2]}\r\n\r\n\n\n   end   \n
CamelCaseHTTPServer parseJSONFile iPhone McDonald's O'Neill 'Tis rock'n'roll we'LL I'Ve x'S WORLD's ÉCOLE's ÉCole aÑAndú
a/b/c \\n //// --- *** ___ ~~~ ``` ... !!! ??? ;;; ((())) <b>fine</b> &amp; @user #tag https://example.org/?q=1&r=%20
zero\u200bwidth joiner\u200d bom\ufeff nbsp\u00a0em\u2003thin\u2009line\u2028para\u2029nel\u0085ideo\u3000.
e\u0301 a\u0308\u0323 n\u0303 o\u0302\u0301 \u1e9b\u0323 \u0958 \uac00\u11a8 soft\u00adhyphen
\u202eltr\u202c \ufffd \ue000 \U0001f468\u200d\U0001f4bb
control \x01\x02\x07\x08\x0b\x0c\x1b[0m\x1f\x7f\x80\x9f end ▁under▁score _▁_ Ġ Ċ ĉ
"""
SPECIAL = ("<|im_start|>user\nHello<|im_end|>\n<|endoftext|><s>  x </s> <unk><pad> <|im_start|> <|im_start <|im|> s> "
           "<extra>two  words<extra> \n\n\n\n<tool_call>{}</tool_call><|fim_prefix|>a<end_of_turn>b <|channel|>")
PAGE = SCRIPTS + REST
