from crowdjax.adapters.peers import KOS, MACE
from crowdjax.adapters.votes import MMSR, GoldMajorityVote, MajorityVote, Wawa, ZeroBasedSkill
