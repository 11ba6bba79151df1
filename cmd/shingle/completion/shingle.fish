# Completion of shingle for fish. Store it as
# ~/.config/fish/completions/shingle.fish, or load it:
#   shingle completion fish | source
function __shingle_complete
    set -l words (commandline -opc) "$(commandline -ct)"
    for line in (command $words[1] complete-words -- $words[2..] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
        else
            echo $line
        end
    end
end
complete -c shingle -f -a '(__shingle_complete)'
