"""What notebooks show of a vault and of what it returns. Plots come with the `notebook` extra."""

from mimir_core.display.cards import hits_html, lineage_html, thread_html, vault_html
from mimir_core.display.dag import plot_dag
from mimir_core.display.map import plot_map

__all__ = ["hits_html", "lineage_html", "plot_dag", "plot_map", "thread_html", "vault_html"]
