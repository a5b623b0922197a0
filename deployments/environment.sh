# Source this in a terminal, from the project's folder: `. deployments/environment.sh`. It puts .venv/bin first and
# sets what deployments/systemd/prefect.env says, except what is set already. Servers of this machine are asked directly,
# whatever proxy is set.
if [ -d "$PWD/.venv/bin" ]; then export PATH="$PWD/.venv/bin:$PATH"; fi
while IFS='=' read -r name value; do
  case "$name" in '' | '#'*) continue ;; esac
  if eval "[ -z \"\${$name+set}\" ]"; then export "$name=$value"; fi
done <deployments/systemd/prefect.env
unset name value
NO_PROXY="${no_proxy:-${NO_PROXY:-}}"
case ",$NO_PROXY," in *,127.0.0.1,*) ;; *) NO_PROXY="${NO_PROXY:+$NO_PROXY,}localhost,127.0.0.1,::1" ;; esac
export NO_PROXY no_proxy="$NO_PROXY"
