{# Answers of a question of which several may be ticked come as one text: a|b, a;b, a,b or ["a", "b"]. #}
{% macro single_choice(text) -%}
    trim(replace(replace(replace({{ text }}, '[', ''), ']', ''), '"', ''))
{%- endmacro %}

{% macro is_several_choices(text) -%}
    ({% for mark in ['|', ';', ',', '；', '，', '、'] %}{{ text }} like '%{{ mark }}%'{{ ' or ' if not loop.last }}{% endfor %})
{%- endmacro %}
