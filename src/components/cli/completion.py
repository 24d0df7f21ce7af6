"""Print the shell's completion script. bash: source <(components completion bash); zsh and fish likewise."""

from __future__ import annotations

import argparse

from components.core import terminal

VERB = {
    "sentence": "print the shell's completion script: bash, zsh or fish",
    "group": "set up",
}

# Each asks `components complete -- WORDS` (the last one is being typed), one candidate a line. What ends in = . or / goes on.
BASH = r"""
_components() {
    local line="${COMP_LINE:0:COMP_POINT}" current head reply
    local -a words
    read -r -a words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    current="${words[${#words[@]}-1]}"
    head="${current%"${current##*[=:]}"}"  # readline has kept what stands before its last word break
    [[ "$COMP_WORDBREAKS" == *=* ]] || head=""
    COMPREPLY=()
    while IFS= read -r reply; do
        [[ "$reply" == *[=./] ]] || reply="$reply "
        COMPREPLY+=("${reply#"$head"}")
    done < <("${words[0]}" complete -- "${words[@]:1}" 2>/dev/null)
}
complete -o nospace -o default -F _components components
"""
ZSH = r"""
#compdef components
_components() {
    local -a found open whole
    found=("${(@f)$(components complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    open=(${(M)found:#*[=./]})
    whole=(${found:#*[=./]})
    (( ${#open} )) && compadd -S '' -- "${open[@]}"
    (( ${#whole} )) && compadd -- "${whole[@]}"
    (( ${#open} + ${#whole} )) || _files
}
compdef _components components
"""
FISH = r"""
function __components_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    components complete -- $words[2..-1] "$current" 2>/dev/null
end
complete -c components -f -a '(__components_complete)'
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(SCRIPTS))


def run(args: argparse.Namespace) -> int:
    terminal.show(SCRIPTS[args.shell].strip())
    return 0
