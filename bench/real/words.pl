# Scalars, arrays and hashes in Perl, each of which is a block of malloc: lines of a log matched, counted by field, sorted,
# and joined again. Prints sums of the results. Usage: PERL_HASH_SEED=0 perl words.pl FILE
use strict;
use warnings;

my ($file) = @ARGV;
my ($letters, $pairs) = (0, 0);
for my $round (1 .. 2) {
    open(my $in, '<', $file) or die "$file: $!";
    my (%by_address, %count, @records);
    while (my $line = <$in>) {
        $line =~ m{^(\d+) (\S+) /(\w+)/(\w+)\?(\w+) (\d+) (\d+) (.*)$} or die "line $.";
        my %record = (time => $1, address => $2, path => [$3, $4], query => $5, status => $6, size => $7);
        my @words = split / /, $8;
        $count{$_}++ for @words;
        $record{words} = \@words;
        push @{ $by_address{$2}{$6} }, \%record;
        push @records, \%record;
    }
    close $in;
    my @sorted = sort { $a->{size} <=> $b->{size} || $a->{query} cmp $b->{query} } @records;
    $letters += length join ',', map { "$_->{query}=@{ $_->{words} }" } @sorted;
    $pairs += keys %{ $by_address{$_} } for keys %by_address;
    $letters += $count{$_} * length for keys %count;
}
print "$letters $pairs\n";
