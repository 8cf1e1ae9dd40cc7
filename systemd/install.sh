#!/usr/bin/env bash
# Installs cambwatch out of this clone as a systemd service, or upgrades it; run as root, as often as you like.
# Every version gets a folder of its own under PREFIX/releases, and PREFIX/current leads to the one that runs: until
# the new one is complete and takes the configuration, the service goes on with the old one.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: systemd/install.sh [--api-key-file FILE] [--slack-url-file FILE] [--prefix DIR] [--extras]
       systemd/install.sh --uninstall

  --api-key-file FILE    holds the Camb API key; without it you are asked, unless a key is installed already
  --slack-url-file FILE  holds the URL of a Slack webhook: a new configuration tells that channel of everything
  --prefix DIR           where the program goes (/opt/cambwatch, or where it is already)
  --extras               with what PostgreSQL and Apprise need; once given it holds for upgrades as well
  --uninstall            removes program and service, and leaves configuration, secrets and database

PYTHON names the Python to use (/usr/bin/python3). pip's own variables, such as PIP_INDEX_URL, hold as always.
TEXT
}

say() { printf '%s\n' "$*"; }
fail() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

settings=/etc/cambwatch
config=$settings/config.yaml
secrets=$settings/credentials
units=/etc/systemd/system
command=/usr/local/bin/cambwatch
clone=$(cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)

main() {
    local api_key_file='' slack_url_file='' prefix='' uninstall=
    pins=requirements/runtime.txt
    while [ $# -gt 0 ]; do
        case $1 in
        --api-key-file | --slack-url-file | --prefix)
            [ $# -ge 2 ] || fail "$1 needs a value; see --help"
            case $1 in
            --api-key-file) api_key_file=$2 ;;
            --slack-url-file) slack_url_file=$2 ;;
            --prefix) prefix=$2 ;;
            esac
            shift 2
            ;;
        --extras)
            pins=requirements/extras.txt
            shift
            ;;
        --uninstall)
            uninstall=yes
            shift
            ;;
        -h | --help)
            usage
            exit
            ;;
        *) fail "what is $1? see --help" ;;
        esac
    done
    [ "$(id -u)" = 0 ] || fail "needs root: sudo $0"
    [ -d /run/systemd/system ] || fail "systemd does not run here: start the daemon with \`make run\`, or in your own way"
    prefix=${prefix:-$(installed_prefix)}
    prefix=${prefix:-/opt/cambwatch}
    check_prefix "$prefix"
    if [ -n "$uninstall" ]; then
        [ -z "$api_key_file$slack_url_file" ] || fail "--uninstall takes no secrets"
        uninstall "$prefix"
        return
    fi
    [ -f "$clone/requirements/runtime.txt" ] || fail "$clone holds no cambwatch: run this script out of a whole clone"
    check_command

    local python release
    python=$(find_python)
    settle_secrets "$api_key_file" "$slack_url_file"
    settle_config "$slack_url_file"
    release=$prefix/releases/$(date -u +%Y%m%dT%H%M%SZ)-$$
    trap 'rm -rf -- "$release"' EXIT # in vain as soon as it is the current one
    build "$python" "$release"
    say "Checking $config ..."
    "$release/bin/cambwatch-admin" check --config "$config" ||
        fail "nothing was started or changed over: put that right, and run this again"
    install_units "$prefix"
    ln -sfn "releases/${release##*/}" "$prefix/current.new"
    mv -T "$prefix/current.new" "$prefix/current"
    trap - EXIT
    ln -sfn "$prefix/current/bin/cambwatch-admin" "$command"
    start
    forget_releases "$prefix" "${release##*/}"
    say "cambwatch $("$command" --version) runs, and starts with the machine. Its log: journalctl -u cambwatch"
}

installed_prefix() {
    [ ! -f "$units/cambwatch.service" ] ||
        sed -n 's|^ExecStart=\(/.*\)/current/bin/cambwatch .*|\1|p' "$units/cambwatch.service"
}

check_prefix() {
    [[ $1 =~ ^(/[A-Za-z0-9._+-]+)+$ && $1/ != */../* ]] ||
        fail "--prefix $1: name an absolute path of letters, digits and . _ + - such as /opt/cambwatch"
    case $1/ in
    /home/* | /root/* | /tmp/* | /var/tmp/* | /run/* | /dev/* | /proc/* | /sys/*)
        fail "--prefix $1: the service cannot see that folder; /opt/cambwatch is a good place" ;;
    esac
}

check_command() {
    [ ! -e "$command" ] || [[ $(readlink -- "$command") == */current/bin/cambwatch-admin ]] ||
        fail "$command is something else than what this script makes: move it away, and run this again"
}

find_python() {
    local python=${PYTHON:-/usr/bin/python3} base
    if ! can_make_venv "$python" && [ -z "${PYTHON:-}" ] && command -v apt-get >/dev/null; then
        say "Installing python3-venv ..." >&2
        { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes python3-venv; } >/dev/null ||
            fail "apt-get could not install python3-venv: look at what it says, install it, and run this again"
    fi
    [ -x "$(command -v "$python")" ] || fail "there is no $python: install python3 and python3-venv, or name another with PYTHON="
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$python is older than 3.11: name a newer one with PYTHON=, such as PYTHON=/usr/bin/python3.12"
    can_make_venv "$python" || fail "$python lacks venv: install it (Debian: apt-get install python3-venv)"
    base=$("$python" -c 'import os, sys; print(os.path.realpath(sys.base_prefix))')
    case $base/ in
    /home/* | /root/* | /tmp/* | /var/tmp/*)
        fail "$python lives in $base, where the service cannot see it: name another with PYTHON=, such as /usr/bin/python3" ;;
    esac
    printf '%s\n' "$python"
}

can_make_venv() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

settle_secrets() {
    local api_key_file=$1 slack_url_file=$2 key
    install -d -m 755 "$settings"
    # The service is handed all three folders; one that is missing would keep it from starting.
    install -d -m 700 "$secrets" "$secrets/camb" "$secrets/http" "$secrets/destinations"
    if [ -n "$api_key_file" ]; then
        key=$(first_line "$api_key_file" "the API key")
        store "$key" "$secrets/camb/api_key"
    elif [ ! -s "$secrets/camb/api_key" ]; then
        [ -t 0 ] || fail "there is no API key yet, and nobody to ask: give --api-key-file FILE"
        read -rsp 'Camb API key (it is not shown): ' key || key='' # the end of the input is no answer either
        printf '\n'
        [ -n "$key" ] || fail "that was empty: run this again with the key that you start tasks with"
        store "$key" "$secrets/camb/api_key"
    fi
    if [ -n "$slack_url_file" ]; then
        key=$(first_line "$slack_url_file" "the Slack URL")
        store "$key" "$secrets/destinations/team-slack"
    fi
}

first_line() {
    local line=''
    [ -r "$1" ] && [ ! -d "$1" ] || fail "$1, which should hold $2, cannot be read"
    IFS=$' \t\r' read -r line <"$1" || [ -n "$line" ] || fail "$1 is empty: it should hold $2"
    [ -n "$line" ] || fail "the first line of $1 is empty: it should hold $2"
    printf '%s\n' "$line"
}

store() {
    # By a new file, so that at no moment half a secret, or one that others may read, is there.
    local new
    new=$(mktemp "$2.XXXXXX") # mode 0600
    printf '%s\n' "$1" >"$new"
    mv -f -- "$new" "$2"
}

settle_config() {
    install -m 644 "$clone/config.example.yaml" "$settings/config.example.yaml"
    if [ -e "$config" ]; then
        say "Keeping $config as it is."
        [ -z "$1" ] || say "The Slack URL is installed; a destination has it by: url_file: \${CREDENTIALS_DIRECTORY}/destinations_team-slack"
        return
    fi
    say "Writing $config ..."
    {
        say "# cambwatch. Every key, with its default and a word on it, is in config.example.yaml beside this file."
        say "# The API key is found by itself. After a change: cambwatch check && systemctl restart cambwatch"
        say
        if [ -n "$1" ]; then
            say "destinations:"
            say "  team-slack:"
            say "    type: slack"
            say "    url_file: \${CREDENTIALS_DIRECTORY}/destinations_team-slack"
        else
            say "# Who is told. Put the URL into $secrets/destinations/team-slack (mode 0600), and delete the # here:"
            say "destinations:"
            say "  #team-slack:"
            say "    #type: slack"
            say "    #url_file: \${CREDENTIALS_DIRECTORY}/destinations_team-slack"
        fi
    } >"$config.new"
    chmod 644 "$config.new"
    mv "$config.new" "$config"
}

build() {
    say "Setting up the program in $2 ..."
    umask 022
    mkdir -p "${2%/*}"
    ! compgen -G "${2%/*/*}/current/lib/python*/site-packages/asyncpg" >/dev/null || pins=requirements/extras.txt
    "$1" -m venv "$2" || fail "$1 could not make a venv in $2"
    "$2/bin/pip" install --quiet --disable-pip-version-check --require-hashes --requirement "$clone/$pins" ||
        fail "pip could not install what is pinned in $pins: it needs PyPI, or PIP_INDEX_URL, or PIP_NO_INDEX=1 with PIP_FIND_LINKS"
    "$2/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation "$clone" ||
        fail "pip could not build cambwatch out of $clone"
    install -m 755 "$clone/systemd/cambwatch.sh" "$2/bin/cambwatch-admin"
}

install_units() {
    local unit
    socket_changed=
    cmp -s "$clone/systemd/cambwatch.socket" "$units/cambwatch.socket" || socket_changed=yes
    for unit in cambwatch.service cambwatch.socket; do
        sed "s|/opt/cambwatch|$1|g" "$clone/systemd/$unit" >"$units/$unit.new"
        chmod 644 "$units/$unit.new"
        mv "$units/$unit.new" "$units/$unit"
    done
    systemctl daemon-reload
}

start() {
    say "Starting the service ..."
    systemctl reset-failed cambwatch.service cambwatch.socket 2>/dev/null || true # of old failures nothing shall count
    if [ -n "$socket_changed" ]; then
        systemctl stop cambwatch.socket cambwatch.service # a socket cannot be opened anew under a running service
    fi
    systemctl --quiet enable cambwatch.service cambwatch.socket
    systemctl start cambwatch.socket && systemctl restart cambwatch.service || {
        journalctl --unit cambwatch.service --unit cambwatch.socket --lines 20 --no-pager --output cat >&2
        fail "the service does not start; above is what it says (journalctl -u cambwatch)"
    }
}

forget_releases() {
    local folder
    for folder in "$1"/releases/*; do
        [ "${folder##*/}" = "$2" ] || rm -rf -- "$folder"
    done
}

uninstall() {
    systemctl --quiet disable --now cambwatch.socket cambwatch.service 2>/dev/null || true
    rm -f -- "$units/cambwatch.service" "$units/cambwatch.socket"
    systemctl daemon-reload
    systemctl reset-failed cambwatch.service cambwatch.socket 2>/dev/null || true
    [[ $(readlink -- "$command") != */current/bin/cambwatch-admin ]] || rm -f -- "$command"
    rm -rf -- "$1/releases" "$1/current"
    rmdir --ignore-fail-on-non-empty -- "$1" 2>/dev/null || true
    say "cambwatch is removed. Left are $settings (configuration and secrets) and /var/lib/cambwatch (the database);"
    say "to be rid of them too: rm -rf $settings /var/lib/cambwatch /var/lib/private/cambwatch"
}

main "$@"
