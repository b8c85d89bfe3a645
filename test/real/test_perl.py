#!/usr/bin/env python3
"""perl under the library: hashes, strings, regular expressions, sorting, threads, fork; same output as without."""
import sys

from real import Real

SCRIPT = r"""
use strict; use warnings; use Config; use List::Util qw(sum shuffle); use Digest::MD5 qw(md5_hex);
my (%count, @rows); my $state = 12345;
sub rnd { $state = ($state * 1103515245 + 12345) % 2147483648; return $state % shift }
for my $i (1 .. 60000) {
    my $word = join '', map { chr(97 + rnd(26)) } 1 .. 1 + rnd(12);
    $count{$word}{rnd(50)} .= "$i,"; push @rows, [$i, $word, 'x' x rnd(400)] if $i % 3 == 0;
}
my $text = join ' ', map { "$_->[1]:$_->[2]" } sort { $a->[1] cmp $b->[1] or $a->[0] <=> $b->[0] } @rows;
my $vowels = () = $text =~ /[aeiou]+/g; (my $other = $text) =~ s/(x{3,})/length $1/ge;
print scalar(keys %count), " $vowels ", length $text, " ", md5_hex($other), "\n";
delete @count{grep { /a/ } keys %count};
print md5_hex(join '|', map { my $w = $_; map { "$w$_$count{$w}{$_}" } sort keys %{$count{$w}} } sort keys %count), "\n";
my $grown = ''; $grown .= sprintf '%05d', $_ for 1 .. 200000; print length $grown, " ", md5_hex($grown), "\n";
if ($Config{useithreads}) {
    require threads; my @t = map { my $n = $_; threads->create(sub { my %h; $h{$_ % 997} .= $_ for 1 .. 20000 * $n; sum map { length } values %h }) } 1 .. 4;
    print join(' ', map { $_->join } @t), "\n";
}
for my $n (1 .. 4) {
    my $pid = open(my $child, '-|') // die; if (!$pid) { my @a = map { "$_" x $n } 1 .. 30000; print md5_hex("@a"), "\n"; exit 0 }
    print <$child>;
}
"""


def main():
    real = Real(__doc__, ["perl"])
    out = real.same("perl", ["perl", "-"], input=SCRIPT.encode(), PERL_HASH_SEED="0")
    real.true("it printed every part", len(out.splitlines()) >= 7)
    real.ran_under("perl")
    real.end()


if __name__ == "__main__":
    sys.exit(main())
