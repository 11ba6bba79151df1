#compdef shingle
# Completion of shingle for zsh. Load it in ~/.zshrc, after compinit:
#   source <(shingle completion zsh)
# or store it as _shingle in a folder of $fpath.
_shingle() {
    local line
    local -a candidates
    for line in "${(@f)$("${words[1]/#\~/$HOME}" complete-words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
        '') ;;
        :files)
            _files
            return
            ;;
        *) candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    _describe shingle candidates
}
if [[ ${funcstack[1]} == _shingle ]]; then
    _shingle "$@"
else
    compdef _shingle shingle
fi
