# Doxygen gives a comment behind "int a, b;" to b alone: each member gets a line of its own, and the comment.
:again
s/(^|\n)( +)([A-Za-z0-9_:]+(<[^>]*>)?\*?) ([A-Za-z_0-9]+( = [^,;(){}]+)?), ([^;(){}]*;)([^\n]*)$/\1\2\3 \5;\8\n\2\3 \7\8/
t again
