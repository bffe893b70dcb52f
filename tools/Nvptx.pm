# SPDX-License-Identifier: MIT
#
# Nvptx.pm — from bitcode to PTX, and what ptxas says of it: what gpu-image and nvptx-check share.
package Nvptx;
use strict;
use warnings;
use Exporter 'import';
our @EXPORT = qw(find_tool run slurp spit first_of llvm_tools link_image optimise find_ptxas ptxas_rows each_line);

sub find_tool
{
    my ($name, @more) = @_;
    for (map({ "$_/$name" } split(/:/, $ENV{PATH})), @more) {
        return $_ if -x $_;
    }
    return undef;
}

# PTXAS names another one; PTXAS=none: there is none.
sub find_ptxas
{
    my $name = $ENV{PTXAS} || 'ptxas';
    return undef if $name eq 'none';
    return $name =~ m{/} ? $name : find_tool($name, '/usr/local/cuda/bin/ptxas');
}

# Runs a command; returns its exit status and all it printed.
sub run
{
    my @cmd = @_;
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        open(STDERR, '>&', \*STDOUT);
        exec(@cmd) or do { print "cannot run $cmd[0]: $!\n"; exit 127 };
    }
    my $text = do { local $/; <$out> } // '';
    close $out;
    return ($?, $text);
}

sub slurp
{
    my ($path) = @_;
    open(my $f, '<', $path) or return '';
    local $/;
    return <$f> // '';
}

sub spit
{
    my ($path, $text) = @_;
    open(my $f, '>', $path) or die "$path: $!\n";
    print $f $text;
    close($f) or die "$path: $!\n";
}

# At most so many of a list, and how many more there were.
sub first_of
{
    my ($max, @all) = @_;
    return @all if @all <= $max;
    return (@all[0 .. $max - 1], sprintf('... and %d more', @all - $max));
}

# The programs that belong to the compiler NVPTX_CC names: llvm-link, opt, llc.
sub llvm_tools
{
    my ($suffix) = ($ENV{NVPTX_CC} // 'clang-19') =~ /(-\d+)$/;
    $suffix //= '';
    return map { "$_$suffix" } qw(llvm-link opt llc);
}

# BASE.link.ll: the inputs as one module, in text.  Returns an error text, or nothing.
sub link_image
{
    my ($base, @inputs) = @_;
    my ($link) = llvm_tools();
    my ($rc, $text) = run($link, '-S', '-o', "$base.link.ll", @inputs);
    return "$link: $text" if $rc;
    return;
}

# BASE.link.ll to optimised IR (BASE.ll) and PTX (BASE.ptx).  Returns an error text, or nothing.  keep: what
# stays visible, undef = everything.  The target multiplies the inliner's threshold by 11: over a whole
# image its default makes functions of tens of thousands of instructions, and 20 is what a CPU gets.
# Why -O2: docs/decisions/nvptx-optimisation.md.
sub optimise
{
    my ($base, $arch, $passes, $keep) = @_;
    my (undef, $opt, $llc) = llvm_tools();
    unlink "$base.ll", "$base.ptx";
    my @keep = $keep ? ("-internalize-public-api-list=$keep") : ();
    $passes = "internalize,globaldce,$passes" if $keep;
    my ($rc, $text) = run($opt, '-code-model=large', '-inline-threshold=20', "-passes=$passes", @keep, '-S', '-o', "$base.ll",
        "$base.link.ll");
    return "$opt: $text" if $rc;
    ($rc, $text) = run($llc, "-mcpu=$arch", '-mattr=+ptx78', '-o', "$base.ptx", "$base.ll");
    return "$llc: " . join("\n", first_of(4, split /\n/, $text)) if $rc;
    return;
}

# Calls back with (function, line) for every instruction line of PTX.
sub each_line
{
    my ($text, $call) = @_;
    my $fn = '';
    for (split /\n/, $text) {
        s{//.*}{};
        if (/^\s*(?:\.\w+ )*\.(?:func|entry)\b.*?([\w\$]+)\s*\(\s*\)?\s*$/) { $fn = $1; next }
        $call->($fn, $_) if /\S/;
    }
}

# What `ptxas -v` says of each function that it has not inlined: stack, spill (bytes; of stores or of loads, whichever
# are more), and for an entry point regs and shared.  Returns its exit status, its text, and the rows by name.
sub ptxas_rows
{
    my ($ptxas, $arch, $ptx, @options) = @_;
    my ($rc, $text) = run($ptxas, "-arch=$arch", '-v', @options, '-o', $ptx =~ s/ptx$/$arch.cubin/r, $ptx);
    my ($fn, %rows);
    for (split /\n/, $text) {
        $fn = $1 if /(?:Compiling entry function|Function properties for) '?([\w\$]+)'?/;
        $rows{$fn} = { fn => $fn, stack => $1, spill => $2 > $3 ? $2 : $3 }
            if /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/;
        next unless defined $fn && $rows{$fn} && /Used (\d+) registers/;
        $rows{$fn}{regs} = $1;
        $rows{$fn}{shared} = /(\d+) bytes smem/ ? $1 : 0;
    }
    return ($rc, $text, \%rows);
}

1;
